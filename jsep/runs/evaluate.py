"""Opening a trained run, and evaluating it: its network with the weights of a checkpoint."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax

from jsep.errors import UserError, typed
from jsep.files import local_path, make_folder
from jsep.runs.begin import misfits
from jsep.runs.by_class import ByClass, evaluate_by_class
from jsep.runs.config import replace_fields
from jsep.runs.data import check_classes, own_statistics
from jsep.runs.trained import classes_in, is_run, open_trained
from jsep.train.evaluate import make_evaluation
from jsep.train.setup import Setup, prepare


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation on all test images.

    Attributes:
        model: registered name of the network.
        data: name of the data set.
        step: step of the checkpoint.
        images: number of test images.
        classes: number of classes.
        figures: what was measured, see `jsep.train.task.Task.judge`: of a classifier "accuracy", "top5" and the mean
            "loss" in nats, of a detector "ap", "ap50" and COCO's other figures, of a segmenter "miou", "accuracy" and
            "loss".
        shown: which of them say most.
        seconds: seconds that the evaluation took, including compilation.
        note: a caveat about the data set that belongs beside the figures; empty for none.
    """

    model: str
    data: str
    step: int
    images: int
    classes: int
    figures: dict[str, float]
    shown: tuple[str, ...]
    seconds: float
    note: str


@typed
def load_run(run: Path, checkpoint: str = "best", **changes: Any) -> tuple[Setup, int, dict[str, Any]]:
    """Open a run with the variables of a checkpoint.

    Images are prepared as in the training of the run, on whatever data set.

    Args:
        run: a run folder, or other weights, see `open_trained`.
        checkpoint: "best", "last" or a step.
        **changes: fields of its configuration to replace, such as data="cifar10"; see `jsep.runs.config.flat_fields`.

    Returns:
        The setup of the run, the step of the checkpoint, and the network's variables, replicated over the devices.

    Raises:
        UserError: there is no such run or checkpoint, or the data does not fit the network.
    """
    if ("mean" in changes) != ("std" in changes):
        raise UserError("`mean` and `std` belong together: give both, or leave both out")
    kept, step, variables, _ = open_trained(run, checkpoint)
    anew: dict[str, Any] = {"train_split": "", "eval_split": ""} if "data" in changes else {}  # those of another set
    if "image_size" in changes:
        anew["eval_size"] = 0  # that of another size
    config = replace_fields(kept, {**anew, **changes})
    if not config.recipe.data.mean and (own := own_statistics(run, kept.recipe.data, config.recipe.data)):
        config = replace_fields(config, {"mean": own[0], "std": own[1]})
    here = min(config.recipe.devices, jax.local_device_count())  # the run may have been trained on more
    setup = prepare(replace_fields(config, {"devices": here}))
    check_classes(run, classes_in(setup.config, variables) - setup.task.background, setup.dataset)
    if wrong := misfits(setup.model, setup.dataset.image_shape, variables):
        raise UserError(
            f"The checkpoints of {run} do not belong to the network in its config.json, or to images of such a shape, "
            f"since they differ in {wrong[0]}: restore config.json from a copy, or choose data of as many channels"
        )
    return setup, step, setup.devices.replicate(variables)


@typed
def evaluate_run(run: Path, checkpoint: str = "best", **changes: Any) -> Evaluation:
    """Evaluate a checkpoint on every test image once. The arguments and errors are those of `load_run`."""
    setup, step, variables = load_run(run, checkpoint, **changes)
    started = time.perf_counter()
    return _evaluation(run, setup, step, make_evaluation(setup)(variables), started)


@typed
def evaluate_run_by_class(
    run: Path, checkpoint: str = "best", out: Path | None = None, **changes: Any
) -> tuple[Evaluation, ByClass]:
    """Evaluate a checkpoint on every test image once, and write what it says about each class.

    Args:
        run: the run folder.
        checkpoint: "best", "last" or a step.
        out: the folder of the files, see `jsep.runs.by_class.evaluate_by_class`; None means eval/ in the run folder,
            or in the current folder for weights that are not in a run folder.
        **changes: fields of its configuration to replace, see `load_run`.

    Returns:
        The result of `evaluate_run`, and the figures of each class.

    Raises:
        UserError: see `load_run`; or the folder cannot be made.
        NotWritten: a file cannot be written.
    """
    folder = local_path(out or (run / "eval" if is_run(run) else Path("eval")))
    setup, step, variables = load_run(run, checkpoint, **changes)
    make_folder(folder)
    started = time.perf_counter()
    means, by_class = evaluate_by_class(setup, variables, folder)
    return _evaluation(run, setup, step, means, started), by_class


def _evaluation(run: Path, setup: Setup, step: int, figures: dict[str, float], started: float) -> Evaluation:
    """Return the result of an evaluation that began at `started`."""
    notes = [setup.dataset.note, check_classes(run, len(setup.dataset.class_names), setup.dataset)]
    if shared := setup.dataset.shared:
        notes.append(f"{shared:,} of these images are also in the part to train on.")
    return Evaluation(
        model=setup.config.model,
        data=setup.dataset.name,
        step=step,
        images=setup.testing.size,
        classes=len(setup.dataset.class_names),
        figures=figures,
        shown=setup.task.shown(len(setup.dataset.class_names)),
        seconds=time.perf_counter() - started,
        note=" ".join(filter(None, notes)),
    )
