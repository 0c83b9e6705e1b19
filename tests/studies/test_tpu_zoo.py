"""The rows of the networks that were compiled for TPUs."""

import tpu_zoo as experiment

from jsep.models import list_models


def test_rows_are_of_registered_networks_and_planned_targets():
    rows = experiment.read().values()
    assert rows
    for row in rows:
        assert row.model in list_models()
        assert row.error or 0 < (row.moved_gb or 0) <= (row.accessed_gb or 0)
        if row.table == "topologies":
            assert (row.chip, row.topology) in experiment.TOPOLOGIES
        if row.table == "paper":
            assert row.model in experiment.PAPER


def test_the_smallest_input_is_one_that_the_network_takes():
    assert experiment.smallest("separable_cnn")[0] == 32
    assert experiment.smallest("mobilenet_v1")[0] == 64
