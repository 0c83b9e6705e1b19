"""The start of a training: fresh weights, or those of another run or file, and a teacher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from rich.console import Console

from jsep.data import Dataset
from jsep.errors import UserError
from jsep.layers.dice import follows_image_size
from jsep.models.factored import create_factored
from jsep.models.outputs import sized_by_classes
from jsep.runs.data import check_classes, own_statistics
from jsep.runs.log import import_wandb
from jsep.runs.trained import open_trained
from jsep.train import RunConfig
from jsep.train.metrics import balanced_weights
from jsep.train.optimizer import make_optimizer
from jsep.train.schedules import learning_rate
from jsep.train.select import BACKBONE, HEAD, check_frozen, classes_of
from jsep.train.setup import Setup, check_training, statistics_of
from jsep.train.state import TrainState, create_state, state_of
from jsep.train.task import Teacher
from jsep.trees import differences, flatten, on_host, unflatten


class Start(NamedTuple):
    """The objects that a training needs beside its setup.

    Attributes:
        rate: the learning rate by step.
        optimizer: the optimizer.
        state: the state before the first step.
        teacher: a trained network to learn from, if any.
        teaching: the teacher's variables.
        class_weights: weights of the classes in the loss, if any.
    """

    rate: optax.Schedule
    optimizer: optax.GradientTransformation
    state: TrainState
    teacher: Teacher | None
    teaching: dict[str, Any] | None
    class_weights: np.ndarray | None


def begin(setup: Setup, console: Console, *, anew: bool) -> Start:
    """Make everything that a training starts with. Bad input is refused here, before there is a run folder.

    Args:
        setup: the data, the network and the devices.
        console: for notes on the classifier of `init` and the weights of the classes.
        anew: whether the run has no checkpoint yet, so that it starts with the weights of `init`.

    Returns:
        The state before the first step, with all that belongs to it.

    Raises:
        UserError: the batch, `freeze`, `init`, `teacher` or `wandb` cannot work.
    """
    recipe, config = setup.recipe, setup.config
    check_training(setup)
    if recipe.wandb:
        import_wandb()
    rate = learning_rate(recipe.schedule, setup.steps_per_epoch)
    optimizer = make_optimizer(recipe.optimizer, recipe.schedule, setup.steps_per_epoch)
    averaged = recipe.optimizer.ema > 0
    state = create_state(setup.model, optimizer, setup.dataset.image_shape, recipe.seed, averaged)
    check_frozen(state.params, recipe.optimizer.freeze)
    if recipe.schedule.head_lr and HEAD not in state.params:
        raise UserError(f"`head_lr`: {config.model} has no layer that is called {HEAD}; leave it out")
    if config.init and anew:
        given = begin_with(config.init, state.variables, console, config.model, config.options)
        state = state_of(given, optimizer, averaged)
    teacher, teaching = open_teacher(config, setup.dataset) if recipe.objective.teacher else (None, None)
    return Start(rate, optimizer, state, teacher, teaching, _class_weights(setup, console))


def _class_weights(setup: Setup, console: Console) -> np.ndarray | None:
    """Return the weights of the classes that the recipe asks for, and print the least and the greatest."""
    if setup.config.recipe.objective.class_weights == "none":
        return None
    names = setup.dataset.class_names
    weights = balanced_weights(setup.task.count(setup.dataset, setup.training))
    least, greatest = int(np.argmin(weights)), int(np.argmax(weights))
    console.print(
        f"Class weights: {weights[least]:.3g} ({names[least]}) to {weights[greatest]:.3g} ({names[greatest]})."
    )
    return weights


def begin_with(
    source: Path, fresh: dict[str, Any], console: Console, model: str, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the variables of a run or of other weights, to begin a training with.

    Args:
        source: a run folder, published weights or a file, see `open_trained`.
        fresh: newly initialised variables. What depends on the number of classes is kept if that of the source
            differs; and a detector or segmenter keeps all but its backbone if the source is a classifier.
        console: for a note if that is the case.
        model: registered name of the network.
        options: its options.

    Raises:
        UserError: the source does not exist, belongs to another network, or holds anything but finite numbers.
    """
    theirs, _, given, _ = open_trained(source, model=model, options=options)
    if BACKBONE in fresh["params"] and BACKBONE not in given["params"]:
        return _with_backbone(source, fresh, given, console, model)
    wrong = differences(fresh, given, follows_image_size)
    sized = sized_by_classes(model, options or {}) if wrong else {}
    anew = [name for name in wrong if name in sized]
    if other := [name for name in wrong if name not in anew]:
        named = f", {theirs.model}, which" if theirs.model != model else ", one that"
        raise UserError(
            f"`init`={source}: it belongs to another network{named} differs in {', '.join(other[:3])}"
            f"{' and more' if len(other) > 3 else ''}: give the same network and options, and data of as many channels"
        )
    if anew:
        console.print(f"The classifier of {source} has other classes; a fresh one takes its place ({', '.join(anew)}).")
    kept = flatten(given)
    return unflatten(on_host({name: own if name in anew else kept[name] for name, own in flatten(fresh).items()}))


def _with_backbone(
    source: Path, fresh: dict[str, Any], given: dict[str, Any], console: Console, model: str
) -> dict[str, Any]:
    """Return fresh variables of a detector or segmenter with those of a classifier for its backbone.

    Norms of the backbone that are constants have their scales among the statistics, where a classifier learns them.
    """
    held = {name.partition("/")[2]: leaf for name, leaf in flatten(given).items()}
    wanted = {name: leaf for name, leaf in flatten(fresh).items() if name.split("/")[1] == BACKBONE}
    kept = {name: held[own] for name in wanted if (own := name.split("/", 2)[2]) in held}
    if wrong := differences(wanted, kept, follows_image_size):
        raise UserError(
            f"`init`={source}: it is not the backbone of {model}, which differs in {', '.join(wrong[:3])}"
            f"{' and more' if len(wrong) > 3 else ''}: give the name and the options of the backbone that it belongs to"
        )
    console.print(f"The backbone begins with the weights of {source}, all other layers with fresh ones.")
    return unflatten(on_host({**flatten(fresh), **kept}))


def misfits(model: nn.Module, image_shape: Sequence[int], variables: Mapping[str, Any]) -> list[str]:
    """Return the paths of the arrays in which variables differ from those of a network.

    An array that depends on the size of the images may be for another size, which the network's layers resize to.

    Args:
        model: the network.
        image_shape: height, width and channels of an image.
        variables: the variables to check; only their names and shapes matter.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    return differences(jax.eval_shape(model.init, jax.random.key(0), image), variables, follows_image_size)


def open_teacher(config: RunConfig, dataset: Dataset) -> tuple[Teacher, dict[str, Any]]:
    """Open the run of the teacher that a configuration names.

    Args:
        config: the configuration of the student, with a teacher.
        dataset: the data set that the student is trained on.

    Returns:
        The teacher, whose images are normalised as in its own training, and its variables.

    Raises:
        UserError: there is no such run, or its network is for other classes or images.
    """
    run = config.recipe.objective.teacher
    assert run
    theirs, _, variables, _ = open_trained(run)
    classes = classes_of(variables["params"])
    check_classes(run, classes, dataset)
    network = create_factored(theirs.model, theirs.options, theirs.factored, num_classes=classes)
    if misfits(network, dataset.image_shape, variables):
        size = "x".join(map(str, dataset.image_shape))
        raise UserError(
            f"`teacher`={run}: its network is not for images of {size}, such as those of {dataset.name}: choose a "
            "teacher that was trained on images of this kind"
        )
    own = own_statistics(run, theirs.recipe.data, config.recipe.data)
    return Teacher(network, own or statistics_of(theirs.recipe.data, dataset)), variables
