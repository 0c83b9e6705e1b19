"""Recipes: how a network is trained, as frozen dataclasses that check themselves.

Each is a panel of flags in `--help`. The text below a field is the help of its flag.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jsep.data import Augmentation, Data
from jsep.errors import require, require_types
from jsep.train.select import thaw

OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop", "rmsprop_tf", "lars"]


@dataclass(frozen=True)
class Optimizer:
    """The optimizer, and which parameters it changes."""

    name: Annotated[OptimizerName, tyro.conf.arg(name="optimizer")] = "adam"
    """sgd uses Nesterov momentum, rmsprop follows PyTorch, rmsprop_tf TensorFlow, and lars is for large batches."""
    momentum: float = 0.9
    """Momentum of sgd, rmsprop, rmsprop_tf and lars."""
    epsilon: float = 0.0
    """Constant that adam, adamw and rmsprop add to the root of the mean square (0 means 1e-8).
    rmsprop_tf adds it to the mean square itself (0 means 1e-3)."""
    weight_decay: float = 0.0
    """Weight decay: decoupled from the gradient in adamw, otherwise added to the gradient as in PyTorch."""
    decay_on: Literal["all", "kernels", "dense"] = "all"
    """Parameters with weight decay: all; kernels, without biases and norms; dense, without depthwise kernels, too."""
    clip: float = 0.0
    """Norm that the whole gradient is clipped to; 0 for no clipping."""
    accumulate: int = 1
    """Split each batch into this many pieces and accumulate their gradients, to save memory.
    Batch norms take their statistics from each piece."""
    ema: float = 0.0
    """Decay of a moving average of the weights, such as 0.999, which is evaluated instead; 0 for none."""
    freeze: tuple[str, ...] = ()
    """Wildcards of parameters to freeze, together with their batch statistics, such as 'stem*' 'stage[12]_*'.
    backbone is everything but the classifier. A colon and a number of epochs ends it after them, such as backbone:3."""

    def __post_init__(self) -> None:
        require_types(self)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and less than 1")
        require(self.epsilon >= 0, "epsilon", self.epsilon, "at least 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(self.clip >= 0, "clip", self.clip, "at least 0")
        require(self.accumulate >= 1, "accumulate", self.accumulate, "at least 1")
        require(0 <= self.ema < 1, "ema", self.ema, "at least 0 and less than 1")
        for entry in self.freeze:
            thaw(entry)  # raises UserError if it cannot be read


@dataclass(frozen=True)
class Schedule:
    """The length of the training, and the learning rate during it."""

    name: Annotated[
        Literal["constant", "cosine", "step", "exponential", "saw_tooth"], tyro.conf.arg(name="schedule")
    ] = "cosine"
    """Decay of the learning rate after the warm-up; saw_tooth is the schedule of DiCENet's authors."""
    lr: float = 1e-3
    """Peak learning rate."""
    head_lr: float = 0.0
    """Peak learning rate of the classifier; 0 for that of all other layers. The schedule has the same shape."""
    epochs: int = 15
    """Passes over the training images."""
    warmup_epochs: float = 0.0
    """Epochs during which the learning rate rises linearly from zero."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """step: fractions of the run after which the learning rate is multiplied by --decay."""
    decay: float = 0.1
    """step and exponential: factor of the learning rate."""
    decay_epochs: float = 1.0
    """exponential: epochs between two multiplications by --decay."""
    patience: int = 0
    """Stop early, after this many epochs without a better --monitor; 0 for never."""
    monitor: Literal["accuracy", "loss"] = "accuracy"
    """The figure of the test images that --patience waits for. The best checkpoint is that of the highest accuracy.
    Accuracy stands for the AP of a detector and the mIoU of a segmenter, too."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.lr > 0, "lr", self.lr, "greater than 0")
        require(self.head_lr >= 0, "head_lr", self.head_lr, "at least 0")
        require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "at least 0")
        below = f"less than the {self.epochs} epochs of the run"
        require(self.warmup_epochs < self.epochs, "warmup_epochs", self.warmup_epochs, below)
        require(all(0 < m < 1 for m in self.milestones), "milestones", self.milestones, "all between 0 and 1")
        require(0 < self.decay <= 1, "decay", self.decay, "greater than 0 and at most 1")
        require(self.decay_epochs > 0, "decay_epochs", self.decay_epochs, "greater than 0")
        require(self.patience >= 0, "patience", self.patience, "at least 0")


@dataclass(frozen=True)
class Objective:
    """The loss: cross-entropy with labels that may be smoothed or mixed, and the logits of a teacher."""

    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the training loss: balanced gives classes with few training images more of it."""
    mixup: float = 0.0
    """Blend neighbouring images of a batch in proportions drawn from Beta(MIXUP, MIXUP); 0 for none."""
    cutmix: float = 0.0
    """Paste a box of the neighbouring image, its area drawn from Beta(CUTMIX, CUTMIX); 0 for none.
    Together with --mixup, either is applied with a probability of one half."""
    teacher: Path | None = None
    """Trained network to learn from as well (knowledge distillation): a run folder, or published weights."""
    teacher_weight: float = 0.5
    """Weight of the teacher in the loss, from 0 to 1."""
    temperature: float = 4.0
    """Divisor of the teacher's and the student's logits in the distillation loss."""

    def __post_init__(self) -> None:
        require_types(self)
        smoothing = self.label_smoothing
        require(0 <= smoothing < 1, "label_smoothing", smoothing, "at least 0 and less than 1")
        require(self.mixup >= 0, "mixup", self.mixup, "at least 0")
        require(self.cutmix >= 0, "cutmix", self.cutmix, "at least 0")
        require(0 <= self.teacher_weight <= 1, "teacher_weight", self.teacher_weight, "between 0 and 1")
        require(self.temperature > 0, "temperature", self.temperature, "greater than 0")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with their neighbours, so that each device needs an even number of them."""
        return bool(self.mixup or self.cutmix)


@dataclass(frozen=True)
class Recipe:
    """The data, and how a network is trained on it.

    Examples:
        >>> recipe = Recipe(Data("cifar10"), Augmentation(crop=4, flip=True), Optimizer("sgd"), Schedule(lr=0.1))
        >>> recipe.optimizer.momentum, recipe.schedule.epochs, recipe.batch_size
        (0.9, 15, 128)
    """

    data: Data = field(default_factory=Data)
    augment: Augmentation = field(default_factory=Augmentation)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    objective: Objective = Objective()
    batch_size: int = 128
    """Images per step, over all devices together."""
    seed: int = 0
    """Seed of initialisation, order of the images, augmentation and dropout."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the activations and the arithmetic; parameters and statistics stay float32."""
    devices: int = 0
    """Devices to use in each process; 0 takes all."""
    keep: int = 2
    """Number of latest checkpoints to keep, beside the best one."""
    wandb: str = ""
    """Project of Weights & Biases to log to as well; none by default."""

    def __post_init__(self) -> None:
        require_types(self)
        require(1 <= self.batch_size <= 2**20, "batch_size", self.batch_size, "at least 1 and at most 1,048,576")
        require(0 <= self.seed < 2**63, "seed", self.seed, "at least 0 and less than 2**63")
        require(self.devices >= 0, "devices", self.devices, "at least 0")
        require(self.keep >= 1, "keep", self.keep, "at least 1")


@dataclass(frozen=True)
class RunConfig:
    """The network of a run and how it is trained: the contents of its config.json.

    >>> config = RunConfig("separable_cnn", {"width": 0.25}, Recipe(batch_size=64))
    >>> config.recipe.batch_size, config.recipe.schedule.lr
    (64, 0.001)

    Attributes:
        model: registered name of the network, see `jsep.models.list_models`.
        options: options of the network, such as {"width": 0.25}.
        recipe: the data and the training.
        factored: convolutions that cheaper ones replace, in text form, see `jsep.models.factored.Factor`.
        init: run folder, published weights or file of weights to start from; None means fresh weights.
    """

    model: str = "separable_cnn"
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe = Recipe()
    factored: tuple[str, ...] = ()
    init: Path | None = None

    def __post_init__(self) -> None:
        require_types(self)
