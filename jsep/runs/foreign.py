"""Weights of other packages as trained networks: their options, and how images are prepared for them."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jsep.errors import UserError, require
from jsep.models import ModelInfo, format_options, model_info
from jsep.models.registry import FED_IMAGENET, FED_UNIT, Fed
from jsep.port import port_state, read_weights
from jsep.port.architectures import Origin, find_architecture, registered_name
from jsep.port.convert import Ported
from jsep.port.read import Weights
from jsep.train import Data, Recipe, RunConfig


class Foreign(NamedTuple):
    """A network with weights from a file of another package.

    Attributes:
        config: the network, and how images are prepared for it.
        ported: its weights, and what settled its options.
        weights: the file's arrays, and what it says of them.
        notes: sentences on what was taken, what was left, and what the file could not show.
    """

    config: RunConfig
    ported: Ported
    weights: Weights
    notes: tuple[str, ...]


def open_foreign(
    file: Path,
    model: str = "",
    *,
    named: str = "",
    options: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
    data: str | None = None,
    normalize: Literal["dataset", "unit", "imagenet"] | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    image_size: int = 0,
    average: bool = False,
) -> Foreign:
    """Open a file of weights by the names of another package.

    Args:
        file: the file, see `jsep.port.read_weights`.
        model: registered name of the network; empty for that which the file says.
        named: registered name for files that do not say it.
        options: options of the network that the weights belong to, as far as the user knows them; they are left out if
            the file names another network than `named`.
        origin: what the publisher says of the network; None leaves that to the file.
        data: the data set of the configuration; None means that of the published network.
        normalize: how the network's images are normalised, see `jsep.data.Data`.
        mean: mean of each channel that they are normalised by instead, for values from 0 to 1.
        std: standard deviation of each channel, likewise.
        image_size: side of the images in pixels; 0 means that which the network was published for.
        average: take the moving average of the weights, where the file has both.

    Raises:
        UserError: the file cannot be read, does not name its network, or belongs to another one.
    """
    if normalize and (mean or std):
        raise UserError("`normalize` and `mean` say the same in two ways: leave one out")
    weights = read_weights(file, average=average)
    if origin:
        weights = dataclasses.replace(weights, origin=origin)
    origin = weights.origin
    typed = model or named
    model = model or registered_name(origin, file, named)
    info, architectures = model_info(model), find_architecture(origin, model)
    try:
        given = options or {} if typed in ("", model) else {}  # those of another network, of which this is a part
        ported = port_state(model, weights.state, given, architectures=architectures, source=file)
    except UserError as error:
        if typed:
            raise
        raise UserError(f"{error}; if it is another form of it, make a run by jsep port NETWORK {file}") from error
    if origin.num_classes not in (0, ported.num_classes):
        raise UserError(
            f"{file} has weights for {ported.num_classes} classes, where {origin.num_classes} are stated: choose other "
            "weights, or correct its config.json"
        )
    side, _, channels = ported.image_shape
    require(len(mean) in (0, channels), "mean", mean, f"one value for each of the {channels} channels")
    stated = normalize or mean or std
    fed = None if stated else origin.fed or _published(info, ported)
    fed = fed and _for_channels(fed, channels)
    imagenet = info.normalization == "imagenet"
    if not data and channels not in (1, 3):
        raise UserError(f"The weights are for images of {channels} channels: give a data set of such images as `data`")
    colour = "imagenet2012" if imagenet else "cifar10" if info.normalization == "unit" else info.normalization
    choice = Data(
        data or (colour if channels == 3 else Data().name),
        image_size=image_size or origin.image_size or (side if info.normalization in ("imagenet", "unit") else 0),
        eval_size=0 if image_size else origin.eval_size,
        crop_share=origin.crop_share,
        interpolation="bicubic" if origin.interpolation == "bicubic" else "bilinear",
        normalize=normalize or "dataset",
        mean=fed.mean if fed else mean,
        std=fed.std if fed else std,
    )
    config = RunConfig(model, ported.options, Recipe(data=choice))
    notes = (*weights.notes, *_left_out(ported), *_unknown(ported, choice, stated, origin))
    return Foreign(config, ported, weights, notes)


def _published(info: ModelInfo, ported: Ported) -> Fed | None:
    """Return what published weights by these names were fed, as far as that is known."""
    if ported.architecture and ported.architecture.fed:
        return ported.architecture.fed
    for package, fed in info.fed.items():
        if package in ported.layout.source:
            return fed
    return {"imagenet": FED_IMAGENET, "unit": FED_UNIT}.get(info.normalization)


def _for_channels(fed: Fed, channels: int) -> Fed | None:
    """Return a mean and deviation for another number of channels; None if those of the channels differ."""
    if len(fed.mean) == channels:
        return fed
    if len(set(fed.mean)) > 1 or len(set(fed.std)) > 1:
        return None
    return Fed(fed.mean[:1] * channels, fed.std[:1] * channels)


def _left_out(ported: Ported) -> Iterator[str]:
    if ported.unused:
        head = ported.unused[0].partition(".")[0]
        yield f"{len(ported.unused)} arrays of {head}, which only training needs, were left out."


def _unknown(ported: Ported, choice: Data, stated: object, origin: Origin) -> Iterator[str]:
    """Yield sentences on what a file of weights cannot show."""
    if ported.unknown:
        taken = format_options(ported.unknown)
        yield f"The weights do not show these options, which are taken as published: {taken} (`options`)."
    if not stated and not origin.fed:
        by = f"mean {choice.mean} and deviation {choice.std}" if choice.mean else "the statistics of the data set"
        size = f", at {choice.image_size} pixels" if choice.image_size and not origin.image_size else ""
        source = "which is taken as published, since the file does not say it"
        yield f"Images are normalised by {by}{size}, {source} (`mean`, `std`, `image_size`)."
