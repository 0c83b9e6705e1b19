"""Run folders for weights that were trained elsewhere."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jsep.errors import UserError
from jsep.files import local_path
from jsep.models import format_options
from jsep.port import TOLERANCE, Difference, compare_with_weights
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.folder import RunFolder
from jsep.runs.foreign import Foreign, open_foreign
from jsep.train import RunConfig
from jsep.trees import flatten, on_host, save_arrays


class Adopted(NamedTuple):
    """A run folder that was made from weights of PyTorch or Keras.

    Attributes:
        config: the configuration of the run.
        arrays: all arrays by their names in jsep.
        notes: sentences on what was taken, what was left, and what the file could not show.
        num_classes: number of classes that the weights have.
        differences: those from PyTorch with the same weights, by the name of the reference, if they were asked for.
    """

    config: RunConfig
    arrays: dict[str, np.ndarray]
    notes: tuple[str, ...]
    num_classes: int
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
    check_images: bool = False,
    **known: Any,
) -> Adopted:
    """Make a run folder from weights of PyTorch or Keras.

    Args:
        model: registered name of the network.
        file: a .safetensors, .pth, .keras or .h5 file, see `jsep.port.read_weights`.
        out: the new run folder. The arrays are also written to its weights.safetensors.
        check_images: compare the network with its references in PyTorch on random images.
        **known: what is known of the network and its images, such as options: arguments of `open_foreign`.

    Returns:
        The run, and what there is to say about it.

    Raises:
        UserError: the file cannot be read or belongs to another network, or `out` already holds a run.
    """
    out = local_path(out)
    found = open_foreign(file, model, **known)
    config, ported = found.config, found.ported
    differences = compare_with_weights(model, ported, found.weights.state) if check_images else {}
    for reference, rows in differences.items():
        worst = max(rows, key=lambda row: row.relative)
        if not worst.relative <= TOLERANCE:
            raise UserError(
                f"With these weights {model} is not {reference}: at {worst.stage} they are {worst.relative:.1e} apart, "
                f"where rounding makes at most {TOLERANCE:.0e}; give the `options` that the weights belong to"
            )
    save_weights(config, ported.variables, out)
    save_arrays(out / "weights.safetensors", ported.variables)
    notes = (*_settled(found), *found.notes)
    return Adopted(config, flatten(on_host(ported.variables)), notes, ported.num_classes, differences)


def _settled(found: Foreign) -> Iterator[str]:
    """Yield sentences on what the origin of the weights has settled."""
    ported, origin, data = found.ported, found.weights.origin, found.config.recipe.data
    if origin.certain and not ported.architecture:
        yield f"The file says that its weights are of {origin.architecture}, a name that settles no option of jsep."
    if ported.settled:
        whose = ported.architecture.name if ported.architecture else ported.layout.source
        yield f"Set as in {whose}: {format_options(ported.settled)}."
    if origin.fed and data.mean == origin.fed.mean:
        yield f"Images are normalised by mean {data.mean} and deviation {data.std}, as the file says (`mean`, `std`)."
