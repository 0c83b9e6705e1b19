"""Weights of ShuffleNet V2 as its authors wrote it, brought into torchvision's order of channels.

Question   The authors' unit begins with the shuffle and torchvision's ends with it. Are they one network, so that
           weights of the one are good for the other?
Method     In both, a unit passes some channels on and reads the others. Every channel is passed on by as many units in
           the one form as some channel is in the other. Pairing them gives the order in which each convolution of
           torchvision's form has to write and to read its channels. It needs shortcuts of half of the channels, which
           the authors' have at a width of 0.5 only.
Weights    FastestDet (github.com/dog-qiuqiu/FastestDet, BSD-3-Clause), a detector trained on COCO, has such a backbone
           of width 0.5, without the last 1x1 convolution, which is drawn anew. Images are BGR from 0 to 1 there; the
           kernel of the stem is turned to RGB.
Command    python studies/shufflenet_orders.py fastestdet_coco.safetensors OUT
           Then `jsep train ssdlite320 --options backbone=shufflenet_v2_x0_5 --init OUT ...` begins with it.
Hardware   Any; seconds.
Result     The maps of the last stage are the same, but for the order of their channels, to 1e-6 of the largest.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jsep.errors import UserError
from jsep.models import create_model
from jsep.models.shufflenet_v2 import FEATURES, REPEATS
from jsep.port.convert import convert
from jsep.port.names import Names
from jsep.runs.adopt import save_weights
from jsep.train import Data, Recipe, RunConfig
from jsep.trees import flatten, load_arrays, unflatten

MODEL, WIDTH = "shufflenet_v2_x0_5", 0.5
CLASSES, SHAPE = 10, (64, 64, 3)  # of a classifier that is not used
BRANCHES = {  # positions in the authors' lists, of convolutions and of the batch norms behind them
    "shortcut_depthwise": ("branch_proj.0", "branch_proj.1"),
    "shortcut": ("branch_proj.2", "branch_proj.3"),
    "expand": ("branch_main.0", "branch_main.1"),
    "depthwise": ("branch_main.3", "branch_main.4"),
    "project": ("branch_main.5", "branch_main.6"),
}
ROWS = {"stem": "backbone.first_conv.0", "stem_norm": "backbone.first_conv.1"}
for part, positions in BRANCHES.items():
    for suffix, position in zip(("", "_norm"), positions, strict=True):
        ROWS[f"stage{{stage}}_unit{{unit}}_{part}{suffix}"] = f"backbone.stage{{stage}}.{{unit0}}.{position}"
LAYOUT = Names("dog-qiuqiu/FastestDet", ROWS, {})
LACKING = ("head", "head_norm", "classifier")  # layers
Channel = tuple[str, int]  # the branch that made it, and its position there


def authors_variables(weights: Path) -> dict[str, np.ndarray]:
    """Return FastestDet's backbone by our names, in the authors' order.

    Raises:
        UserError: the file holds no such backbone.
    """
    state = {name: array for name, array in load_arrays(weights)[0].items() if name.startswith("backbone.")}
    model = create_model(MODEL, num_classes=CLASSES, units="authors")
    variables, wrong = convert(model, SHAPE, state, LAYOUT)
    if wrong := [line for line in wrong if line.split("/")[1] not in LACKING]:
        raise UserError(f"{weights} does not hold FastestDet's backbone: {wrong[0]}")
    found = {name: np.asarray(array) for name, array in flatten(variables).items()}
    found["params/stem/kernel"] = np.ascontiguousarray(found["params/stem/kernel"][:, :, ::-1])
    return found


def halves(order: list[Channel], authors: bool) -> tuple[list[Channel], list[Channel]]:
    """Return the channels that a unit passes on, and those that it reads."""
    half = len(order) // 2
    return (order[::2], order[1::2]) if authors else (order[:half], order[half:])


def follow(repeats: int, half: int, authors: bool) -> tuple[list[list[Channel]], list[Channel]]:
    """Follow the channels through a stage.

    Args:
        repeats: units of the stage.
        half: channels that a branch makes.
        authors: in the authors' order, or in torchvision's.

    Returns:
        The channels that each unit but the first reads, and those at the end.
    """

    def joined(first: list[Channel], second: list[Channel]) -> list[Channel]:
        return first + second if authors else [one for pair in zip(first, second, strict=True) for one in pair]

    def made(branch: str) -> list[Channel]:
        return [(branch, i) for i in range(half)]

    order, read = joined(made("unit1_shortcut"), made("unit1_project")), []
    for unit in range(2, repeats + 1):
        kept, taken = halves(order, authors)
        read.append(taken)
        order = joined(kept, made(f"unit{unit}_project"))
    return read, order


def pairs(repeats: int, half: int) -> dict[Channel, Channel]:
    """Return the authors' channel for each of torchvision's: of the same branch, and read by the same unit."""

    def by_fate(authors: bool) -> dict[tuple[str, int], list[Channel]]:
        read, last = follow(repeats, half, authors)
        fates: dict[tuple[str, int], list[Channel]] = defaultdict(list)
        for unit, channels in enumerate([*read, last]):
            for channel in channels:
                fates[channel[0], unit].append(channel)
        return fates

    ours, theirs = by_fate(authors=False), by_fate(authors=True)
    return {mine: other for fate in ours for mine, other in zip(ours[fate], theirs[fate], strict=True)}


def in_torchvisions_order(variables: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reorder the authors' variables.

    Args:
        variables: arrays by name, in the authors' order; with or without those of the last 1x1 convolution.

    Returns:
        The arrays in torchvision's order, and which of the authors' channels each of the last stage is.
    """
    found = dict(variables)

    def read(name: str, order: np.ndarray) -> None:
        found[f"params/{name}/kernel"] = found[f"params/{name}/kernel"][:, :, order]

    def write(name: str, order: np.ndarray) -> None:
        found[f"params/{name}/kernel"] = found[f"params/{name}/kernel"][..., order]
        for leaf in ("scale", "bias", "mean", "var"):
            path = f"{'params' if leaf in ('scale', 'bias') else 'batch_stats'}/{name}_norm/{leaf}"
            found[path] = found[path][order]

    order = np.arange(variables["params/stem/kernel"].shape[-1])
    for stage, (width, repeats) in enumerate(zip(FEATURES[WIDTH], REPEATS, strict=False), start=2):
        half, name = width // 2, f"stage{stage}"
        pair = pairs(repeats, half)
        (theirs, their_last), (ours, our_last) = (follow(repeats, half, authors) for authors in (True, False))
        write(f"{name}_unit1_shortcut_depthwise", order)
        read(f"{name}_unit1_shortcut", order)
        read(f"{name}_unit1_expand", order)
        for unit, (mine, other) in enumerate(zip(ours, theirs, strict=True), start=2):
            at = {channel: i for i, channel in enumerate(other)}
            read(f"{name}_unit{unit}_expand", np.array([at[pair[channel]] for channel in mine]))
        for branch in ("unit1_shortcut", *(f"unit{unit}_project" for unit in range(1, repeats + 1))):
            write(f"{name}_{branch}", np.array([pair[branch, i][1] for i in range(half)]))
        at = {channel: i for i, channel in enumerate(their_last)}
        order = np.array([at[pair[channel]] for channel in our_last])
    if "params/head/kernel" in found:
        read("head", order)
    return found, order


def maps(units: str, arrays: dict[str, np.ndarray], images: Any) -> np.ndarray:
    """Return the maps of the last stage of a network with these arrays, and others as they are drawn."""
    model: Any = create_model(MODEL, num_classes=CLASSES, units=units)
    drawn = flatten(jax.jit(model.init)(jax.random.key(0), images))
    _, stages = model.apply(unflatten({**drawn, **arrays}), images, features=True)
    return np.asarray(stages["stage4"].maps)


def main(weights: str, out: str) -> None:
    """Write a run folder with the backbone in torchvision's order, and say how far the maps are apart."""
    theirs = authors_variables(Path(weights))
    ours, order = in_torchvisions_order(theirs)
    images = np.random.default_rng(0).uniform(0, 1, (2, 96, 96, 3)).astype(np.float32)
    expected, found = maps("authors", theirs, images)[..., order], maps("torchvision", ours, images)
    apart = float(np.abs(found - expected).max() / np.abs(expected).max())
    model = create_model(MODEL, num_classes=CLASSES)
    drawn = flatten(jax.jit(model.init)(jax.random.key(0), images))
    data = Data("coco", mean=(0.0,) * 3, std=(1.0,) * 3)
    save_weights(RunConfig(MODEL, {}, Recipe(data)), unflatten({**drawn, **ours}), Path(out))
    Console().print(f"{out}: {len(ours)} arrays; maps of the last stage differ by {apart:.1e} of the largest.")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python studies/shufflenet_orders.py FASTESTDET.safetensors OUT")
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
