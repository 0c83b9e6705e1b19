"""The rows of the networks that were compiled for TPUs."""

import importlib.util
from pathlib import Path

import pytest

from jsep.models import list_models

FILE = Path(__file__).parents[2] / "studies" / "tpu_zoo.py"


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("tpu_zoo", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_are_of_registered_networks_and_planned_targets(experiment):
    rows = experiment.read().values()
    assert rows
    for row in rows:
        assert row.model in list_models()
        assert row.error or 0 < row.moved_gb <= row.accessed_gb
        if row.table == "topologies":
            assert (row.chip, row.topology) in experiment.TOPOLOGIES
        if row.table == "paper":
            assert row.model in experiment.PAPER


def test_the_smallest_input_is_one_that_the_network_takes(experiment):
    assert experiment.smallest("separable_cnn")[0] == 32
    assert experiment.smallest("mobilenet_v1")[0] == 64
