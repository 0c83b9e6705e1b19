"""Fields and reach of whole networks, against values that follow from their shapes."""

import jax.numpy as jnp
import pytest

from jsep.costs.receptive import network_score, receptive_fields
from jsep.models import create_model

LATER = [
    pytest.param(name, field, marks=pytest.mark.slow)
    for name, field in (("resnet34", 899), ("resnet50", 427), ("mobilenet_v2", 491))
]


@pytest.mark.parametrize(
    ("name", "field"),
    [("resnet18", 435), *LATER, ("mobilenet_v1", 315)],
)
def test_field_of_the_whole_network(name, field):
    stages, whole = receptive_fields(create_model(name), (224, 224, 3))
    assert whole == field
    assert all(stage.reach == 1 for stage in stages[1:])


def test_stages_of_a_network_for_small_images():
    stages, _ = receptive_fields(create_model("resnet18", input="cifar"), (32, 32, 3))
    # the first one starts at the image and includes the stem
    assert [(s.side, s.field, s.channels) for s in stages] == [(32, 11, 3), (32, 15, 64), (16, 15, 128), (8, 15, 256)]
    assert 0 < network_score(stages) < 1


def test_a_shape_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"`input_shape`=.*: it must be height, width and channels"):
        receptive_fields(create_model("resnet20", depth=8), (1, 32, 32, 3))


def test_each_axis_has_a_field_of_its_own():
    """A row and a column of seven see seven by seven; strides along the rows widen only the rows."""
    import flax.linen as nn

    from jsep.layers import Conv
    from jsep.models.stage import Stage

    class Rows(nn.Module):
        strides: tuple[int, int]

        @nn.compact
        def __call__(self, x, *, train=False, features=False):
            x = Conv(3, (1, 7), use_bias=False, name="row")(Conv(3, (7, 1), self.strides, name="column")(x))
            x = Conv(3, (3, 1), dilation=(2, 1), name="dilated")(x)
            return x.mean((1, 2)), {"stage1": Stage(x, 1)}

    for strides, field in (((1, 1), 7 + 4), ((1, 2), 13), ((2, 1), 7 + 4 * 2)):
        (stage,), whole = receptive_fields(Rows(strides), (32, 32, 3))
        assert stage.field == whole == field


def test_channels_are_followed_through_splits_and_shuffles():
    """The unit with a stride reads all channels, and the shuffles mix its outputs."""
    stages, _ = receptive_fields(create_model("shufflenet_v2_x0_5"), (224, 224, 3))
    assert [stage.reach for stage in stages] == [1, 1, 1]


def test_attention_connects_the_channels_that_it_reads():
    """A kernel of 3 reaches each channel's neighbours (one at each end); squeeze and excitation reaches all 8."""
    import flax.linen as nn

    from jsep.layers import DepthwiseConv, EfficientChannelAttention, SqueezeExcite
    from jsep.models.stage import Stage

    class Attended(nn.Module):
        attention: nn.Module

        @nn.compact
        def __call__(self, x, *, train=False, features=False):
            x = self.attention(DepthwiseConv(3, use_bias=False)(x))
            return x.mean((1, 2)), {"stage1": Stage(x, 1)}

    for attention, reach in ((EfficientChannelAttention(3), (8 * 3 - 2) / 64), (SqueezeExcite(2), 1)):
        (stage,), _ = receptive_fields(Attended(attention), (8, 8, 8))
        assert (stage.field, stage.reach) == (3, pytest.approx(reach))


def test_groups_without_a_shuffle_do_not_see_each_other():
    import flax.linen as nn

    from jsep.layers import Conv
    from jsep.models.stage import Stage

    class Grouped(nn.Module):
        shuffle: bool

        @nn.compact
        def __call__(self, x, *, train=False, features=False):
            x = Conv(8, 1, use_bias=False, name="stem")(x)
            stages = {"stage1": Stage(x, 1)}
            for i in range(2):
                x = nn.relu(Conv(8, 3, groups=4, use_bias=False, name=f"conv{i}")(x))
                if self.shuffle:
                    x = jnp.swapaxes(x.reshape(*x.shape[:-1], 4, 2), -1, -2).reshape(x.shape)
            return x.mean((1, 2)), {**stages, "stage2": Stage(x, 1)}

    for shuffle, reach in ((False, 0.25), (True, 0.5)):
        stages, _ = receptive_fields(Grouped(shuffle), (8, 8, 4))
        assert (stages[1].field, stages[1].reach) == (5, reach)
