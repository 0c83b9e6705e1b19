"""Counts equal the published ones to the last digit."""

import flax.linen as nn
import pytest

from jsep import create_model
from jsep.costs import count
from jsep.layers import Conv


# profiler FLOPs per image, and per batch of 256 in units of 1e11, as in the published chart
@pytest.mark.parametrize(
    ("name", "flops", "chart"),
    [
        ("regular_cnn", 5_825_967_818, "14.914"),
        ("both_cnn", 1_256_552_138, "3.217"),
        ("separable_cnn", 663_670_474, "1.699"),
    ],
)
def test_flops_of_the_published_chart(name, flops, chart):
    table = count(create_model(name), (32, 32, 3))
    assert table.flops == flops
    assert f"{256 * table.flops / 1e11:.3f}" == chart


def test_foreign_linen_modules_are_counted_too():
    class Foreign(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            x = nn.Conv(8, (3, 3), strides=2)(x)
            x = nn.BatchNorm(use_running_average=not train)(x)
            x = nn.Conv(8, (3, 3), feature_group_count=8, use_bias=False)(x)
            return nn.Dense(5)(x.mean((1, 2)))

    table = count(Foreign(), (8, 8, 3), train=False)
    assert [row.params for row in table.rows] == [27 * 8 + 8, 16, 72, 45]
    assert [row.cost and row.cost.macs for row in table.rows] == [27 * 8 * 16, 0, 72 * 16, 40]
    assert table.rows[0].output == (4, 4, 8)


def test_a_shared_layer_has_its_parameters_once_and_its_work_twice():
    class Twice(nn.Module):
        def setup(self):
            self.conv = Conv(3)

        def __call__(self, x):
            return self.conv(self.conv(x))

    table = count(Twice(), (4, 4, 3))
    assert [row.params for row in table.rows] == [84, 0]
    assert table.macs == 2 * 81 * 16


def test_a_layer_without_a_rule_is_named():
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("gain", nn.initializers.ones, ())

    table = count(Odd(), (4, 4, 3))
    assert table.params == 1
    assert table.unknown == ("",)
