"""How a network is trained: small frozen values, each of which checks itself and is a panel of flags in `--help`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jsep.data import Augmentation, Data
from jsep.errors import require

OptimizerName = Literal["adam", "adamw", "sgd", "rmsprop", "rmsprop_tf", "lars"]


@dataclass(frozen=True)
class Optimizer:
    """How a gradient changes the parameters."""

    name: Annotated[OptimizerName, tyro.conf.arg(name="optimizer")] = "adam"
    """sgd has Nesterov momentum. rmsprop is PyTorch's, rmsprop_tf TensorFlow's. lars is for large batches."""
    momentum: float = 0.9
    """Momentum of sgd, rmsprop, rmsprop_tf and lars."""
    epsilon: float = 0.0
    """Added to the root of the mean square by adam, adamw and rmsprop (0 means 1e-8), and to the mean square itself by
    rmsprop_tf (0 means 1e-3)."""
    weight_decay: float = 0.0
    """Weight decay: decoupled from the gradient for adamw, otherwise added to the gradient as PyTorch does."""
    decay_on: Literal["all", "kernels", "dense"] = "all"
    """What weight decay acts on. kernels: not on biases and norms. dense: nor on depthwise kernels."""
    clip: float = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""
    accumulate: int = 1
    """Split a batch into this many pieces and process them in turn, to save memory. Each piece has batch statistics of
    its own."""
    ema: float = 0.0
    """Decay of a moving average of parameters and statistics, such as 0.999, which is evaluated instead; 0 for none."""
    freeze: tuple[str, ...] = ()
    """Wildcards of parameters (and their statistics) that are not trained, such as 'stem*' 'stage[12]_*'."""

    def __post_init__(self) -> None:
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and less than 1")
        require(self.epsilon >= 0, "epsilon", self.epsilon, "at least 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(self.clip >= 0, "clip", self.clip, "at least 0")
        require(self.accumulate >= 1, "accumulate", self.accumulate, "at least 1")
        require(0 <= self.ema < 1, "ema", self.ema, "at least 0 and less than 1")


@dataclass(frozen=True)
class Schedule:
    """How long a training lasts, and the learning rate during it."""

    name: Annotated[
        Literal["constant", "cosine", "step", "exponential", "saw_tooth"], tyro.conf.arg(name="schedule")
    ] = "cosine"
    """How the learning rate falls after the warm-up. saw_tooth is the schedule of DiCENet's authors."""
    lr: float = 1e-3
    """Peak learning rate."""
    epochs: int = 15
    """Passes over the training images."""
    warmup_epochs: float = 0.0
    """Epochs during which the rate rises linearly from zero."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """step: the shares of the run after which the rate is multiplied by --decay."""
    decay: float = 0.1
    """step and exponential: the factor."""
    decay_epochs: float = 1.0
    """exponential: epochs between two multiplications."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.lr > 0, "lr", self.lr, "greater than 0")
        require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "at least 0")
        below = f"less than the {self.epochs} epochs of the run"
        require(self.warmup_epochs < self.epochs, "warmup_epochs", self.warmup_epochs, below)
        require(all(0 < m < 1 for m in self.milestones), "milestones", self.milestones, "shares between 0 and 1")
        require(0 < self.decay <= 1, "decay", self.decay, "greater than 0 and at most 1")
        require(self.decay_epochs > 0, "decay_epochs", self.decay_epochs, "greater than 0")


@dataclass(frozen=True)
class Objective:
    """What is minimised: cross-entropy with the labels, softened, mixed, or taught by another network."""

    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over all classes."""
    mixup: float = 0.0
    """Blend neighbours in the batch by shares drawn from Beta(MIXUP, MIXUP); 0 does not."""
    cutmix: float = 0.0
    """Paste a box of the neighbour whose area is drawn from Beta(CUTMIX, CUTMIX); 0 does not. With --mixup, each is
    chosen half of the time."""
    teacher: Path | None = None
    """A run whose network's logits are learned from, too (knowledge distillation)."""
    teacher_weight: float = 0.5
    """Share of the teacher in the loss."""
    temperature: float = 4.0
    """Divides the teacher's and the student's logits."""

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        require(0 <= smoothing < 1, "label_smoothing", smoothing, "at least 0 and less than 1")
        require(self.mixup >= 0, "mixup", self.mixup, "at least 0")
        require(self.cutmix >= 0, "cutmix", self.cutmix, "at least 0")
        require(0 <= self.teacher_weight <= 1, "teacher_weight", self.teacher_weight, "between 0 and 1")
        require(self.temperature > 0, "temperature", self.temperature, "greater than 0")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with their neighbours, for which they must come in pairs."""
        return bool(self.mixup or self.cutmix)


@dataclass(frozen=True)
class Recipe:
    """The data, and how a network is trained on it.

    >>> recipe = Recipe(Data("cifar10"), Augmentation(crop=4, flip=True), Optimizer("sgd"), Schedule("step", lr=0.1))
    >>> recipe.optimizer.momentum, recipe.schedule.epochs, recipe.batch_size
    (0.9, 15, 128)
    """

    data: Data = field(default_factory=Data)
    augment: Augmentation = field(default_factory=Augmentation)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    objective: Objective = Objective()
    batch_size: int = 128
    """Images a step, over all devices together."""
    seed: int = 0
    """Seed of initialisation, order, augmentation and dropout."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters and statistics stay float32."""
    devices: int = 0
    """Local devices to use; 0 takes all."""
    keep: int = 2
    """Checkpoints kept beside the best one."""
    wandb: str = ""
    """Also log to this project of Weights & Biases."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(0 <= self.seed < 2**63, "seed", self.seed, "at least 0 and less than 2**63")
        require(self.devices >= 0, "devices", self.devices, "at least 0")
        require(self.keep >= 1, "keep", self.keep, "at least 1")


@dataclass(frozen=True)
class RunConfig:
    """One network under one recipe: what a run folder keeps.

    Attributes:
        model: registered name, see `jsep.models.list_models`.
        options: options of the network, such as {"width": 0.25}.
        recipe: the data and the training.
        factored: convolutions that cheaper ones stand in for, as texts, see `jsep.models.factored.Factor`.
        init: a run or a .safetensors file whose weights the training begins with.
    """

    model: str = "separable_cnn"
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe = Recipe()
    factored: tuple[str, ...] = ()
    init: Path | None = None
