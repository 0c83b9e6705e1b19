"""The choice of a data set: its checks and its flags."""

import dataclasses
from pathlib import Path

import pytest
import tyro

from jsep.data import Data
from jsep.errors import UserError


@dataclasses.dataclass(frozen=True)
class Recipe:
    data: Data = dataclasses.field(default_factory=Data)


@pytest.mark.parametrize("field", ["image_size", "eval_size", "workers", "split_seed"])
def test_sizes_below_zero_are_refused(field):
    with pytest.raises(UserError, match=f"`{field}`=-1: it must be at least 0"):
        dataclasses.replace(Data(), **{field: -1})


@pytest.mark.parametrize("share", [-0.1, 1.01])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(UserError, match=f"`crop_share`={share}: it must be between 0 and 1"):
        Data(crop_share=share)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_a_share_leaves_something_to_train_and_to_evaluate_on(share):
    with pytest.raises(UserError, match=f"`holdout`={share}: it must be greater than 0 and less than 1"):
        Data(holdout=share)


def test_flags_are_flat_and_the_name_is_data():
    words = ["--data", "cifar10", "--data-dir", "/sets", "--image-size", "64", "--stream", "--normalize", "unit"]
    found = tyro.cli(Recipe, args=words, config=(tyro.conf.OmitArgPrefixes,))
    assert found.data == Data("cifar10", Path("/sets"), image_size=64, stream=True, normalize="unit")
