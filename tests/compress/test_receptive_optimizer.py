"""The static optimizer against the reference outputs of its reconstruction."""

import pytest

from jsep.compress.receptive_optimizer import Conv, Kernel, Stage, kernels, optimize_kernels, optimize_stages, score


def _basic(channels, features):
    shortcut = (Conv(1, channels, features, shortcut=True),) if channels != features else ()
    return (Conv(3, channels, features), Conv(3, features, features), *shortcut)


def _separable(channels, features):
    return (Conv(3, channels, channels, depthwise=True), Conv(1, channels, features))


def _stages(block, widths, blocks, strides, stem, side=32):
    stages, channels = [], stem
    for width, number, stride in zip(widths, blocks, strides, strict=True):
        stages.append(Stage(side, stride, block(channels, width), block(width, width), number))
        side, channels = side // stride, width
    return stages


RESNET18 = _stages(_basic, (64, 128, 256, 512), (2, 2, 2, 2), (1, 2, 2, 2), 64)
MOBILENET = _stages(_separable, (64, 128, 256, 512, 1024), (1, 2, 2, 6, 2), (1, 2, 2, 2, 2), 32)


def _params(stages):
    return sum(stage.params() for stage in stages)


def test_resnet18_on_small_images():
    found, moves = optimize_stages(RESNET18)
    assert [stage.blocks for stage in found] == [2, 3, 2, 1]
    assert (round(score(RESNET18), 4), round(score(found), 4)) == (0.3516, 0.4072)
    assert (_params(RESNET18), _params(found)) == (11_157_504, 6_733_824)
    assert sum(s.macs() for s in found) == sum(s.macs() for s in RESNET18)
    assert [(move.giver, move.taker) for move in moves] == [(4, 2)]


def test_mobilenet_on_small_images():
    found, moves = optimize_stages(MOBILENET, tolerance=0.1)
    assert [stage.blocks for stage in found] == [3, 4, 3, 2, 1]
    assert (round(score(MOBILENET), 4), round(score(found), 4)) == (0.1518, 0.2925)
    assert (_params(MOBILENET), _params(found)) == (3_184_224, 1_171_680)
    assert [(move.giver, move.taker) for move in moves] == [(4, 1), (4, 2), (4, 3), (4, 1), (5, 2)]
    assert optimize_stages(MOBILENET)[1] == []


def test_kernels_become_cheap_where_channels_are_still_seen():
    convs = [Conv(3, 64, 64)] * 3
    chosen = optimize_kernels(convs)
    assert "dense" not in {kernel.kind for kernel in chosen}
    assert sum(k.params(c) for k, c in zip(chosen, convs, strict=True)) < 3 * (9 * 64 + 64 * 64)
    assert optimize_kernels([Conv(3, 64, 64)]) == [Kernel("separable")]  # a single layer must see all channels
    loose = optimize_kernels([Conv(3, 64, 64)], threshold=0.25)
    assert loose[0].groups == 4  # an eighth would be too few


@pytest.mark.parametrize(
    ("kernel", "params"),
    [
        (Kernel("dense"), 36_864),
        (Kernel("separable"), 4_672),
        (Kernel("grouped", 4), 1_600),
        (Kernel("rolling", 2, 0.5), 2_624),
    ],
)
def test_parameters_of_kernels(kernel, params):
    assert kernel.params(Conv(3, 64, 64)) == params
    assert kernel in kernels(Conv(3, 64, 64))
