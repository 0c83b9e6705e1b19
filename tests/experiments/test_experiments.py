"""Every experiment can run: it loads, its networks and their options exist, and its lab book is complete."""

import re
from pathlib import Path

import pytest

from jsep.costs import count
from jsep.models import create_model, model_info, parse_options
from jsep.runs.experiments import find_experiment, load_experiment

FOLDER = find_experiment("depthwise_separable_cnn").parent
FILES = [path for path in sorted(FOLDER.glob("*.py")) if "Comparison(" in path.read_text()]
EVERYDAY = {"depthwise_separable_cnn", "xception"}  # counting every network takes a minute
COUNTED = [path if path.stem in EVERYDAY else pytest.param(path, marks=pytest.mark.slow) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_can_be_begun(path: Path):
    experiment, lab_book = load_experiment(path)
    for heading in ("Source", "Command", "Expect"):
        assert re.search(rf"^{heading} ", lab_book, re.MULTILINE), heading
    for run, *_ in experiment.runs().values():
        create_model(run.model, **run.options)
    assert {*experiment.against, *experiment.against.values()} <= {*experiment.models}


@pytest.mark.parametrize("path", COUNTED, ids=lambda path: path.stem)
def test_parameters_in_a_lab_book_are_counted(path: Path):
    """A lab book that states parameters in full states those of every network."""
    experiment, lab_book = load_experiment(path)
    counted = set()
    for name, *own in map(str.split, experiment.models):
        network = create_model(name, **parse_options(own))
        counted.add(f"{count(network, model_info(name).input_shape).params:,}")
    printed = set(re.findall(r"\b\d{1,3}(?:,\d{3})+\b", lab_book.partition("\nExpect")[2]))
    assert not printed or counted <= printed
