"""Run folders for weights that were trained elsewhere."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jsep.errors import UserError, require
from jsep.files import local_path
from jsep.models import ModelInfo, format_options, model_info
from jsep.models.registry import FED_IMAGENET, FED_UNIT, Fed
from jsep.port import TOLERANCE, Difference, compare_with_weights, port_state, read_weights
from jsep.port.architectures import Origin, find_architecture
from jsep.port.convert import Ported
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.folder import RunFolder
from jsep.train import Data, Recipe, RunConfig
from jsep.trees import flatten, on_host, save_arrays


class Adopted(NamedTuple):
    """A run folder that was made from weights of PyTorch or Keras.

    Attributes:
        config: the configuration of the run.
        arrays: all arrays by their names in jsep.
        notes: sentences on what was taken, what was left, and what the file could not show.
        differences: those from PyTorch with the same weights, by the name of the reference, if they were asked for.
    """

    config: RunConfig
    arrays: dict[str, np.ndarray]
    notes: tuple[str, ...]
    differences: Mapping[str, Sequence[Difference]]


def save_weights(config: RunConfig, variables: dict[str, Any], out: Path) -> None:
    """Make a run folder with a single checkpoint, at step 0.

    Args:
        config: the configuration of the run.
        variables: the variables that the checkpoint holds.
        out: the new run folder.

    Raises:
        UserError: `out` already holds a run.
        NotWritten: the disk is full or read-only; the folder is no run then.
    """
    folder = RunFolder.reserve(out)
    with contextlib.closing(Checkpoints(folder.path, config.recipe.keep, clean=True)) as checkpoints:
        record = {"seconds": 0.0, "compile_seconds": 0.0}
        checkpoints.save(0, on_host(variables), record, accuracy=-1.0)  # not evaluated yet
    folder.save(config)  # last, since it makes the folder a run


def adopt_file(
    model: str,
    file: Path,
    out: Path,
    *,
    options: Mapping[str, Any],
    data: str | None = None,
    normalize: Literal["dataset", "unit", "imagenet"] | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    image_size: int = 0,
    average: bool = False,
    check_images: bool = False,
) -> Adopted:
    """Make a run folder from weights of PyTorch or Keras.

    Args:
        model: registered name of the network.
        file: a .safetensors, .pth, .keras or .h5 file, see `jsep.port.read_weights`.
        out: the new run folder. The arrays are also written to its weights.safetensors.
        options: options of the network that the weights belong to.
        data: the data set that the run is evaluated on; None means that of the published network.
        normalize: how the network's images are normalised, see `jsep.data.Data`.
        mean: mean of each channel that they are normalised by instead, for values from 0 to 1.
        std: standard deviation of each channel, likewise.
        image_size: side of the images in pixels; 0 means that which the network was published for.
        average: take the moving average of the weights, where the file has both.
        check_images: compare the network with its references in PyTorch on random images.

    Returns:
        The run, and what there is to say about it.

    Raises:
        UserError: the file cannot be read or belongs to another network, or `out` already holds a run.
    """
    if normalize and (mean or std):
        raise UserError("`normalize` and `mean` say the same in two ways: leave one out")
    out = local_path(out)
    weights = read_weights(file, average=average)
    origin, info = weights.origin, model_info(model)
    ported = port_state(model, weights.state, options, architectures=find_architecture(origin, model), source=file)
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
        normalize=normalize or "dataset",
        mean=fed.mean if fed else mean,
        std=fed.std if fed else std,
    )
    config = RunConfig(model, ported.options, Recipe(data=choice))
    differences = compare_with_weights(model, ported, weights.state) if check_images else {}
    for reference, rows in differences.items():
        worst = max(rows, key=lambda row: row.relative)
        if not worst.relative <= TOLERANCE:
            raise UserError(
                f"With these weights {model} is not {reference}: at {worst.stage} they are {worst.relative:.1e} apart, "
                f"where rounding makes at most {TOLERANCE:.0e}; give the `options` that the weights belong to"
            )
    save_weights(config, ported.variables, out)
    save_arrays(out / "weights.safetensors", ported.variables)
    notes = (*weights.notes, *_notes(ported, origin), *_unknown(ported, choice, stated, origin))
    return Adopted(config, flatten(on_host(ported.variables)), notes, differences)


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


def _notes(ported: Ported, origin: Origin) -> Iterator[str]:
    """Yield sentences on what the origin of the weights has settled."""
    if origin.certain and not ported.architecture:
        yield f"The file says that its weights are of {origin.architecture}, a name that settles no option of jsep."
    if ported.settled:
        whose = ported.architecture.name if ported.architecture else ported.layout.source
        yield f"Set as in {whose}: {format_options(ported.settled)}."
    if ported.unused:
        head = ported.unused[0].partition(".")[0]
        yield f"{len(ported.unused)} arrays of {head}, which only training needs, were left out."


def _unknown(ported: Ported, choice: Data, stated: object, origin: Origin) -> Iterator[str]:
    """Yield sentences on what a file of weights cannot show."""
    if ported.unknown:
        taken = format_options(ported.unknown)
        yield f"The weights do not show these options, which are taken as published: {taken} (`options`)."
    if not stated:
        by = f"mean {choice.mean} and deviation {choice.std}" if choice.mean else "the statistics of the data set"
        size = f", at {choice.image_size} pixels" if choice.image_size else ""
        source = "as the file says" if origin.fed else "which is taken as published, since the file does not say it"
        yield f"Images are normalised by {by}{size}, {source} (`mean`, `std`, `image_size`)."
