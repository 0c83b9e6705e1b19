"""Which rows may be compared, which are on the Pareto front, and the sentences about them."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import pytest
from sample_rows import result

from jsep.report.fronts import draw_front
from jsep.report.protocol import COSTS, by_conditions, pareto, sentence
from jsep.results import mean_std

SVG = "{http://www.w3.org/2000/svg}"


def entries(*networks, **changes):
    """Networks of the same conditions from (name, accuracies, parameters)."""
    rows = [
        result(name, seed, options="", accuracy=accuracy, params=params, macs=2 * params, **changes)
        for name, accuracies, params in networks
        for seed, accuracy in enumerate(accuracies)
    ]
    (found,) = by_conditions(rows).values()
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "cifar100"},
        {"epochs": 3},
        {"batch_size": 32},
        {"recipe": "--lr 0.2"},
        {"device": "NVIDIA H100"},
        {"devices": 2},
        {"jax": "0.12.0"},
    ],
    ids=str,
)
def test_rows_of_other_conditions_are_never_mixed(change):
    rows = [result("a"), result("a", 1), result("a", 2, **change), result("b", **change)]
    one, other = by_conditions(rows).values()
    assert [(entry.name, len(entry.runs)) for entry in one] == [("a width=0.5", 2)]
    assert [(entry.name, len(entry.runs)) for entry in other] == [("a width=0.5", 1), ("b width=0.5", 1)]


def test_networks_are_told_apart_by_their_options():
    rows = [result("a", options="width=0.5"), result("a width=1", options="width=1"), result("a", options="width=1")]
    (found,) = by_conditions(rows).values()
    assert [(entry.name, len(entry.runs)) for entry in found] == [("a width=0.5", 1), ("a width=1", 2)]


@pytest.mark.parametrize(
    ("networks", "front"),
    [
        ([("a", [0.5], 10), ("b", [0.6], 20)], "ab"),
        ([("a", [0.6], 10), ("b", [0.5], 20)], "a"),
        ([("a", [0.5], 10), ("b", [0.5], 20)], "a"),  # as good at a higher cost
        ([("a", [0.5], 10), ("b", [0.6], 10)], "b"),  # better at the same cost
        ([("c", [0.7], 30), ("a", [0.5], 10), ("d", [0.4], 15), ("b", [0.6], 20)], "abc"),  # in order of the cost
        ([("a", [0.9, 0.1], 10), ("b", [0.6, 0.5], 20)], "ab"),  # means count
        ([("a", [math.nan, 0.9], 10), ("b", [0.6], 20)], "b"),  # a diverged run
        ([("a", [math.nan], 10)], ""),
    ],
)
def test_the_front_holds_what_no_other_network_beats(networks, front):
    found = entries(*networks)
    assert "".join(entry.name for entry in pareto(found, "params")) == front
    assert "".join(entry.name for entry in pareto(found, "macs")) == front


def test_the_spread_of_a_share_follows_from_both_networks():
    base, one = entries(("base", [0.78, 0.80, 0.82], 200), ("one", [0.74, 0.76, 0.78], 100))
    said = sentence(one, base)
    variance = sum((mean_std(entry.values)[1] / entry.value) ** 2 / 3 for entry in (one, base))
    assert f"`one` keeps 95.0 ± {95 * math.sqrt(variance):.1f} % of the accuracy of `base`" in said
    assert said.endswith("with 50 % of the parameters, 50 % of the MACs and 100 % of the training time.")


@pytest.mark.parametrize(
    ("one", "base", "words"),
    [
        ([0.80, 0.84], [0.80, 0.82], "`one` reaches 101.2 ± .*do not tell the two apart: two standard errors are 4.5"),
        ([0.70], [0.80, 0.82], "`one` keeps 86.4 % .* A single run has no spread."),
        ([math.nan, 0.8], [0.8, 0.8], "`one` cannot be told against `base`: of `one` a run diverged"),
        ([0.8], [0.0], "of `base` a run diverged or learned nothing"),
    ],
)
def test_a_sentence_claims_no_more_than_the_runs_show(one, base, words):
    told, against = entries(("one", one, 100), ("base", base, 200))
    assert re.search(words, sentence(told, against))


def test_detectors_are_told_by_their_ap():
    rows = [dataclasses.replace(result(name), accuracy=math.nan, ap=ap) for name, ap in (("a", 0.2), ("b", 0.1))]
    (found,) = by_conditions(rows).values()
    assert "keeps 50.0 % of the AP of" in sentence(found[1], found[0])


@pytest.mark.parametrize("cost", COSTS)
def test_a_picture_numbers_every_network_and_fills_the_front(cost):
    found = entries(("a", [0.5, 0.6], 10_000), ("b", [0.4, 0.45], 20_000), ("c", [math.nan], 30_000))
    text, told = draw_front(found, cost)
    assert text == draw_front(found, cost)[0]  # the same bytes
    assert f"Accuracy against {COSTS[cost]}. Pareto front: a, 55.00 % at " in told
    assert "b," not in told
    marks = [use for use in ET.fromstring(text).iter(f"{SVG}use") if "stroke-width: 0.9" in use.get("style", "")]
    assert len(marks) == 2
    assert [("#0072b2" in mark.get("style", "")) for mark in marks] == [True, False]


def test_a_picture_of_diverged_networks_is_empty():
    assert draw_front(entries(("a", [math.nan], 10)), "params")[1].endswith("front: none.")
