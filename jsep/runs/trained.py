"""Opening trained networks: whatever uses one gets it here, wherever its weights come from."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsep.data import Data
from jsep.errors import UserError
from jsep.files import local_path
from jsep.models import parse_options
from jsep.models.outputs import count_classes
from jsep.port.architectures import Origin, read_config, registered_name
from jsep.port.published import find_published
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.data import DataRecord
from jsep.runs.folder import RunFolder
from jsep.runs.foreign import open_foreign
from jsep.train import Recipe, RunConfig
from jsep.train.classify import CLASSIFICATION
from jsep.train.select import classes_of
from jsep.train.setup import task_of
from jsep.trees import as_weights, load_arrays, not_finite, on_host, unflatten


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        config: the network, and how it was trained; its data say how images are prepared for it.
        step: the training step that its weights are from.
        variables: its variables, on the host.
        class_names: names of the classes in the order of the labels; empty where they are unknown.
    """

    config: RunConfig
    step: int
    variables: dict[str, Any]
    class_names: tuple[str, ...]


def open_trained(
    source: Path, checkpoint: str = "best", model: str = "", options: Mapping[str, Any] | None = None
) -> Trained:
    """Open a trained network.

    What is to be said of weights from elsewhere, such as that an auxiliary head was left out, is a warning.

    Args:
        source: a run folder; published weights by name, such as timm/resnet50.a1_in1k; a file of weights; or a folder
            with the files of a repository of Hugging Face's hub. See `jsep.port.published.find_published`.
        checkpoint: "best", "last" or a step of a run.
        model: registered name of the network, for files that do not say it.
        options: options of the network, for files that do not say them.

    Raises:
        UserError: there is no such run or checkpoint, it is corrupt, or holds NaN or infinity; or there are no such
            weights, or jsep does not have their network.
    """
    source = local_path(source)
    if (found := find_published(source)) is None:
        folder = RunFolder.open(source)
        record = DataRecord.read(source)
        return Trained(folder.config(), *load_variables(source, checkpoint), record.classes if record else ())
    if checkpoint != "best":
        raise UserError(f"`checkpoint`={checkpoint}: {source} is no run, and has one set of weights; leave it out")
    if found.path.suffix == ".safetensors":
        arrays, facts = load_arrays(found.path)
        if any(name.startswith("params/") for name in arrays):
            return _own(source, arrays, facts, model)
    foreign = open_foreign(found.path, named=model, options=options, origin=found.origin)
    for note in foreign.notes:
        warnings.warn(note, stacklevel=1)  # once, although a training opens its weights twice
    return Trained(foreign.config, 0, on_host(foreign.ported.variables), foreign.weights.origin.class_names)


def is_run(source: Path) -> bool:
    """Return whether a source is a run folder, rather than weights from elsewhere; the hub has a config.json, too."""
    return RunFolder.exists(source) and not read_config(RunFolder(source).config_path)


def trained_config(source: Path, model: str = "", options: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the configuration of a trained network, without the weights of a run. See `open_trained`."""
    if is_run(source):
        return RunFolder(source).config()
    return open_trained(source, model=model, options=options).config


def classes_in(config: RunConfig, variables: Mapping[str, Any]) -> int:
    """Return the number of classes of a network with these variables, of a detector with the background.

    Args:
        config: the network.
        variables: its variables.

    Raises:
        UserError: the variables belong to another network.
    """
    if task_of(config) is CLASSIFICATION:
        return classes_of(variables["params"])
    return count_classes(config.model, config.options, variables)


def _own(source: Path, arrays: Mapping[str, Any], facts: Mapping[str, str], model: str) -> Trained:
    """Return the network in a file of `jsep export --to safetensors`, whose metadata say how it is built."""
    variables = {"batch_stats": {}, **unflatten(as_weights(arrays, source))}
    if "model" not in facts:  # a file of `jsep port`, or of somebody else
        return Trained(RunConfig(registered_name(Origin(), source, model)), 0, variables, ())
    try:
        height, *_ = json.loads(facts["image_shape"])
        mean, std = (tuple(json.loads(facts[key])) for key in ("mean", "std"))
        view: dict[str, Any] = {"interpolation": facts.get("interpolation", Data.interpolation)}
        view |= {"crop_share": float(facts.get("crop_share", Data.crop_share)), "image_size": height}
        data = Data(facts["data"], mean=mean, std=std, **view)
        options, factored = parse_options(facts["options"].split()), tuple(facts["factored"].split())
        config = RunConfig(facts["model"], options, Recipe(data=data), factored)
        return Trained(config, int(facts["step"]), variables, tuple(json.loads(facts["class_names"])))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{source} was not written by jsep export, or is damaged ({error}): export it again") from error


def load_variables(run: Path, checkpoint: str = "best") -> tuple[int, dict[str, Any]]:
    """Load the variables that a checkpoint of a run is evaluated with.

    Args:
        run: the run folder.
        checkpoint: "best", "last" or a step.

    Returns:
        The step of the checkpoint, and the network's variables on the host.

    Raises:
        UserError: there is no such run or checkpoint, it is corrupt, or holds NaN or infinity.
    """
    folder = RunFolder.open(run)
    checkpoints = Checkpoints(folder.path, folder.config().recipe.keep)
    try:
        step = checkpoints.find(checkpoint)
        state = checkpoints.on_host(step)
    finally:
        checkpoints.close()
    params, batch_stats = state.get("average") or (state["params"], state.get("batch_stats", {}))
    variables = on_host({"params": params, "batch_stats": batch_stats})
    if wrong := not_finite(variables):
        raise UserError(
            f"Checkpoint {step} of {run} holds values that are not finite numbers, in {wrong[0]}: choose another "
            "`checkpoint`, or train again"
        )
    return step, variables
