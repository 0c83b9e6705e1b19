"""Improving a network's shape by its receptive fields, without training: blocks per stage, and kinds of kernels.

After Wang et al., arXiv 2009.05236. The abstract names a static optimizer for stages and for kernels; the algorithm was
not accessible, so this is a reconstruction, and must be labelled as one wherever its results are shown.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from jsep.costs.receptive import Reach, rolling_reach


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution of a block.

    Attributes:
        kernel_size: side of the kernel.
        channels: number of input channels.
        features: number of output channels.
        depthwise: whether it is depthwise.
        shortcut: whether it lies on the shortcut and not on the main path.
    """

    kernel_size: int
    channels: int
    features: int
    depthwise: bool = False
    shortcut: bool = False

    @property
    def params(self) -> int:
        """Number of weights."""
        return self.kernel_size**2 * (self.channels if self.depthwise else self.channels * self.features)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks at one resolution.

    Attributes:
        side: height of the input in pixels.
        stride: stride of the first block.
        first: convolutions of the first block.
        other: convolutions of every other block.
        blocks: number of blocks.
    """

    side: int
    stride: int
    first: tuple[Conv, ...]
    other: tuple[Conv, ...]
    blocks: int

    def field(self) -> int:
        """Return the side of a last unit's receptive field in pixels of the input.

        The first convolution of the main path with a kernel above 1x1 has the stride.
        """
        field, jump = 1, 1
        for number in range(self.blocks):
            strided = False
            for conv in self.first if number == 0 else self.other:
                if conv.shortcut:
                    continue
                field += (conv.kernel_size - 1) * jump
                if number == 0 and not strided and conv.kernel_size > 1:
                    jump, strided = jump * self.stride, True
        return field

    def params(self) -> int:
        """Return the number of weights of all convolutions."""
        return sum(c.params for c in self.first) + (self.blocks - 1) * sum(c.params for c in self.other)

    def macs(self) -> int:
        """Return the weights times the pixels of the output."""
        return self.params() * (self.side // self.stride) ** 2


def score(stages: Sequence[Stage]) -> float:
    """Return the geometric mean of the stages' scores where every unit sees all channels.

    The score of a stage is the share of the input's side that a unit sees (at most 1), squared.
    """
    shares = [min(1.0, stage.field() / stage.side) ** 2 for stage in stages]
    return math.prod(shares) ** (1 / len(shares))


@dataclasses.dataclass(frozen=True)
class Move:
    """One block moved from a stage to another.

    Attributes:
        giver: number of the stage that gave the block, counted from 1.
        taker: number of the stage that took it.
        score: score of the network after the move.
        params: its weights after the move.
        macs: its multiply-accumulates after the move.
    """

    giver: int
    taker: int
    score: float
    params: int
    macs: int


def optimize_stages(stages: Sequence[Stage], tolerance: float = 0.0) -> tuple[list[Stage], list[Move]]:
    """Move blocks between stages as long as the score rises, or the weights become fewer at the same score.

    The total number of blocks does not change, and no stage is left empty. Each step takes the move with the highest
    score, and of equal ones that with the fewest weights.

    Args:
        stages: the stages of the network.
        tolerance: share by which the multiply-accumulates may grow over the original's.

    Returns:
        The stages after all moves, and the moves.
    """
    now, moves = list(stages), []
    budget = (1 + tolerance) * sum(stage.macs() for stage in stages)
    while True:
        best = None
        for giver, taker in itertools.permutations(range(len(now)), 2):
            if now[giver].blocks == 1:
                continue
            tried = list(now)
            tried[giver] = dataclasses.replace(now[giver], blocks=now[giver].blocks - 1)
            tried[taker] = dataclasses.replace(now[taker], blocks=now[taker].blocks + 1)
            macs, params = (sum(getattr(stage, what)() for stage in tried) for what in ("macs", "params"))
            if macs <= budget:
                candidate = (-round(score(tried), 12), params, giver, taker, macs, tried)
                best = candidate if best is None or candidate[:4] < best[:4] else best
        present = (-round(score(now), 12), sum(stage.params() for stage in now))
        if best is None or best[:2] >= present:
            return now, moves
        negative, params, giver, taker, macs, now = best
        moves.append(Move(giver + 1, taker + 1, -negative, params, macs))


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A form that a dense convolution can take.

    Attributes:
        kind: "dense" leaves it as it is; "separable", "grouped" and "rolling" are a depthwise convolution and a
            pointwise one that is dense, grouped or rolling.
        groups: groups of the pointwise convolution.
        overlap: share of its channels that a group of a rolling convolution has in common with the next one.
    """

    kind: str
    groups: int = 1
    overlap: float = 0.0

    def params(self, conv: Conv) -> int:
        """Return the number of weights that a convolution has in this form."""
        if self.kind == "dense":
            return conv.params
        return conv.kernel_size**2 * conv.channels + conv.channels * conv.features // self.groups

    def reach(self, conv: Conv) -> Reach:
        """Return which input channels each output channel of a convolution reads in this form."""
        if self.kind == "grouped":
            ones = np.ones((conv.features // self.groups, conv.channels // self.groups), bool)
            return np.kron(np.eye(self.groups, dtype=bool), ones)
        if self.kind == "rolling":
            return rolling_reach(conv.channels, conv.features, self.groups, self.overlap, "cyclic")
        return np.ones((conv.features, conv.channels), bool)


GROUPS, OVERLAPS = (2, 4, 8), (0.25, 0.33, 0.5, 0.75)


def kernels(conv: Conv) -> list[Kernel]:
    """Return all forms that a convolution can take, the cheapest first."""
    if conv.kernel_size == 1 or conv.depthwise:
        return [Kernel("dense")]
    groups = [g for g in GROUPS if conv.channels % g == 0 and conv.features % g == 0]
    found = [Kernel("dense"), Kernel("separable"), *(Kernel("grouped", g) for g in groups)]
    for g, overlap in itertools.product(groups, OVERLAPS):
        width = conv.channels // g
        windows = conv.channels // math.gcd(conv.channels, width - int(overlap * width))
        if conv.features % windows == 0:
            found.append(Kernel("rolling", g, overlap))
    return sorted(found, key=lambda kernel: kernel.params(conv))


def optimize_kernels(convs: Sequence[Conv], threshold: float = 1.0) -> list[Kernel]:
    """Choose the cheapest forms of a stage's convolutions that let its output see enough channels of its input.

    The choice is greedy, from the largest convolution to the smallest.

    Args:
        convs: the convolutions in the order of evaluation.
        threshold: share of the input channels that an output channel must see on average.

    Returns:
        A form for each convolution.
    """
    chosen = [Kernel("dense")] * len(convs)

    def reach(kernels: Sequence[Kernel]) -> float:
        seen = np.eye(convs[0].channels, dtype=np.float32)
        for kernel, conv in zip(kernels, convs, strict=True):
            seen = (kernel.reach(conv).astype(np.float32) @ seen > 0).astype(np.float32)
        return float(seen.mean())

    for at in sorted(range(len(convs)), key=lambda i: -convs[i].params):
        for kernel in kernels(convs[at]):
            tried = [*chosen[:at], kernel, *chosen[at + 1 :]]
            if reach(tried) >= threshold:
                chosen = tried
                break
    return chosen
