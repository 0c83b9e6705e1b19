"""Counts equal the published ones to the last digit."""

import flax.linen as nn
import pytest

from jsep import create_model
from jsep.costs import count
from jsep.errors import UserError
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


class Body(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return Conv(8)(x), None


def repeated(wrap, **options):
    """A convolution of 584 parameters and 147,456 MACs that a lifted transform repeats."""

    class Repeated(nn.Module):
        @nn.compact
        def __call__(self, x):
            return wrap(Body, **options)()(x, None)[0]

    return Repeated()


OWN = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
SHARED = {"variable_broadcast": "params", "split_rngs": {"params": False}}
VMAP = {"in_axes": (None, None), "axis_size": 5, **OWN}


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (repeated(nn.scan, length=5, **OWN), (5, 5)),
        (repeated(nn.scan, length=5, **SHARED), (1, 5)),
        (repeated(nn.vmap, **VMAP), (5, 5)),
        (repeated(nn.remat), (1, 1)),
    ],
)
def test_a_layer_counts_as_often_as_it_is_computed(model, layers):
    table = count(model, (16, 16, 8))
    assert (table.params, table.macs) == (layers[0] * 584, layers[1] * 147_456)
    assert table.unknown == ()


def test_a_layer_on_every_quarter_of_the_image_is_computed_four_times():
    class Quarters(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Conv(8)(x.reshape(-1, 8, 8, 8))

    assert count(Quarters(), (16, 16, 8)).macs == 147_456


def test_a_layer_that_is_repeated_nobody_knows_how_often_is_named():
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            conv = Conv(8)
            conv(x)  # the loop can make no parameters

            def body(conv, x):
                return conv(x)

            return nn.while_loop(lambda conv, x: x.sum() < 1, body, conv, x, carry_variables=())

    assert count(Loop(), (16, 16, 8)).unknown == ("Conv_0",)


@pytest.mark.parametrize("model", ["resnet20", None, Conv])
def test_what_is_no_network_is_refused(model):
    with pytest.raises(UserError, match=r"`model`=.*: it must be a Linen module"):
        count(model, (32, 32, 3))


@pytest.mark.parametrize(
    "shape", [(1, 32, 32, 3), (32, 32), (0, 32, 3), (32, -1, 3), (32.0, 32, 3), ("32", "32", "3"), 32, None, "332"]
)
def test_a_shape_that_is_no_image_is_refused(shape):
    with pytest.raises(UserError, match=r"`input_shape`=.*: it must be height, width and channels"):
        count(create_model("resnet20", depth=8), shape)
