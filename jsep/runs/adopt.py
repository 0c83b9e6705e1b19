"""Run folders for weights that were trained elsewhere."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jsep.models import model_info
from jsep.port import from_torch, read_state
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.folder import RunFolder
from jsep.train import Data, Recipe, RunConfig
from jsep.trees import flatten, save_arrays


def save_weights(config: RunConfig, variables: dict[str, Any], out: Path) -> None:
    """Make a run folder with a single checkpoint, at step 0.

    Args:
        config: the configuration of the run.
        variables: the variables that the checkpoint holds.
        out: the new run folder.

    Raises:
        UserError: `out` already holds a run.
    """
    RunFolder.create(out, config)
    with contextlib.closing(Checkpoints(out, config.recipe.keep)) as checkpoints:
        record = {"seconds": 0.0, "compile_seconds": 0.0}
        checkpoints.save(0, variables, record, accuracy=-1.0)  # not evaluated yet


def adopt_file(
    model: str,
    file: Path,
    out: Path,
    *,
    options: Mapping[str, Any],
    data: str | None = None,
    normalize: Literal["dataset", "unit", "imagenet"] | None = None,
) -> tuple[RunConfig, dict[str, Any]]:
    """Make a run folder from PyTorch's weights.

    Args:
        model: registered name of the network.
        file: a .safetensors or .pth file, see `jsep.port.read_state`.
        out: the new run folder. The arrays are also written to its weights.safetensors.
        options: options of the network that the weights belong to.
        data: the data set that the run is evaluated on; None means that of the published network.
        normalize: how the network's images are normalised, see `jsep.data.Data`; None means as for the published one.

    Returns:
        The configuration of the run, and all arrays by their names in jsep.

    Raises:
        UserError: the file cannot be read or belongs to another network, or `out` already holds a run.
    """
    home = model_info(model).normalization
    imagenet = home == "imagenet"
    variables = from_torch(model, read_state(file), **options)
    name = data or ("imagenet2012" if imagenet else home)
    choice = Data(name, normalize=normalize or ("imagenet" if imagenet else "dataset"))
    config = RunConfig(model, options, Recipe(data=choice))
    save_weights(config, variables, out)
    save_arrays(out / "weights.safetensors", variables)
    return config, flatten(variables)
