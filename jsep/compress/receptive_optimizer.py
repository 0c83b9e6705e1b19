"""A better shape for a network by its receptive fields alone, without training: where blocks should stand, and of what.

After Wang et al., arXiv 2009.05236, whose abstract names a static optimizer at the level of stages and of kernels; the
optimizer itself could not be read. This one is a reconstruction, and must be called one wherever it is shown.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from jsep.costs.receptive import Reach, rolling_reach


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution of a block: kernel size, channels that come in and go out. shortcut: none of the main path's."""

    kernel_size: int
    channels: int
    features: int
    depthwise: bool = False
    shortcut: bool = False

    @property
    def params(self) -> int:
        return self.kernel_size**2 * (self.channels if self.depthwise else self.channels * self.features)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks at one resolution. first: the block that opens the stage, with its stride; other: each block behind it."""

    side: int
    stride: int
    first: tuple[Conv, ...]
    other: tuple[Conv, ...]
    blocks: int

    def field(self) -> int:
        """Of a unit at the end, in pixels of the map that enters; the stride is that of the first spatial kernel."""
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
        """Of the convolutions."""
        return sum(c.params for c in self.first) + (self.blocks - 1) * sum(c.params for c in self.other)

    def macs(self) -> int:
        """Parameters of the convolutions times the output's pixels."""
        return self.params() * (self.side // self.stride) ** 2


def score(stages: Sequence[Stage]) -> float:
    """The geometric mean of the squared shares of their sides that stages see; every channel is seen."""
    shares = [min(1.0, stage.field() / stage.side) ** 2 for stage in stages]
    return math.prod(shares) ** (1 / len(shares))


@dataclasses.dataclass(frozen=True)
class Move:
    """One block from a stage to another, counted from 1, and what came of it."""

    giver: int
    taker: int
    score: float
    params: int
    macs: int


def optimize_stages(stages: Sequence[Stage], tolerance: float = 0.0) -> tuple[list[Stage], list[Move]]:
    """Move blocks between stages as long as the score rises, or at the same score the parameters fall.

    The number of blocks stays, no stage is left empty, and MACs stay below (1 + tolerance) times the original's.
    Of all moves the one with the highest score is taken, of equals the one with the fewest parameters.
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
    """What a dense convolution becomes: itself, or depthwise and then pointwise, grouped or rolling pointwise."""

    kind: str
    groups: int = 1
    overlap: float = 0.0

    def params(self, conv: Conv) -> int:
        if self.kind == "dense":
            return conv.params
        return conv.kernel_size**2 * conv.channels + conv.channels * conv.features // self.groups

    def reach(self, conv: Conv) -> Reach:
        if self.kind == "grouped":
            ones = np.ones((conv.features // self.groups, conv.channels // self.groups), bool)
            return np.kron(np.eye(self.groups, dtype=bool), ones)
        if self.kind == "rolling":
            return rolling_reach(conv.channels, conv.features, self.groups, self.overlap, "cyclic")
        return np.ones((conv.features, conv.channels), bool)


GROUPS, OVERLAPS = (2, 4, 8), (0.25, 0.33, 0.5, 0.75)


def kernels(conv: Conv) -> list[Kernel]:
    """All that a convolution can become, the cheapest first."""
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
    """The cheapest kernels of a stage, in order, with which its end still sees `threshold` of its entry's channels.

    The largest convolution is decided first, each with the others as they then are.
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
