"""What a run is: frozen values that a command line can override field by field and a run folder keeps as JSON."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

import tyro

from jsep.errors import UserError, nearest
from jsep.files import write_atomically


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The data, and how a network is trained on it."""

    options: tuple[str, ...] = ()
    """Options of the network, such as width=0.25; `jsep show MODEL` lists them."""

    data: str = "mnist5k"
    """Data set by name, or the path of a prepared TFDS directory."""
    data_dir: Path | None = None
    """Where TFDS keeps its data sets ($TFDS_DATA_DIR or ~/tensorflow_datasets unless said)."""
    image_size: int = 0
    """Bring images to this size; 0 keeps the data set's own."""
    stream: bool = False
    """Decode from disk during training, however small the data set; larger ones than 4 GiB are streamed anyway."""
    workers: int = 0
    """Processes that decode a stream; 0 takes threads."""
    normalize: Literal["dataset", "unit", "imagenet"] = "dataset"
    """dataset: subtract the training images' mean, divide by their standard deviation. unit: divide by 255 alone.
    imagenet: with ImageNet's mean and deviation."""
    crop: int = 0
    """Pad by so many pixels and cut a random window (4 is usual for CIFAR)."""
    flip: bool = False
    """Mirror half of the training images."""
    resized_crop: bool = False
    """Inception's crop: 8 to 100 % of the area, scaled back. Streamed images of several sizes get it in any case."""
    jitter: float = 0.0
    """Brightness, contrast and saturation change by up to this share (0.4 is usual)."""
    randaugment: tuple[int, int] = (0, 9)
    """RandAugment: operations an image (2 is usual, 0 for none) and their magnitude of 0 to 30."""
    erase: float = 0.0
    """Chance that a rectangle of a training image is painted over with the mean colour."""

    epochs: int = 15
    """Passes over the training images."""
    batch_size: int = 128
    """Images a step, over all devices together."""
    seed: int = 0
    """Of initialisation, order, augmentation and dropout."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters and statistics stay float32."""
    devices: int = 0
    """Local devices to use; 0 takes all."""

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "rmsprop_tf", "lars"] = "adam"
    """sgd is with Nesterov momentum. rmsprop is PyTorch's, rmsprop_tf TensorFlow's. lars is for large batches."""
    lr: float = 1e-3
    """Peak learning rate."""
    momentum: float = 0.9
    """Of sgd, rmsprop, rmsprop_tf and lars."""
    epsilon: float = 0.0
    """Of adam, adamw and rmsprop (1e-8 for 0), beside the root, and of rmsprop_tf (1e-3 for 0), below the root."""
    weight_decay: float = 0.0
    """Decoupled for adamw, else added to the gradient as PyTorch does."""
    decay_on: Literal["all", "kernels", "dense"] = "all"
    """kernels: no weight decay on biases and norms. dense: nor on depthwise kernels."""
    clip: float = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""
    accumulate: int = 1
    """Take a batch in so many pieces, one after another, to save memory; each has batch statistics of its own."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes."""
    mixup: float = 0.0
    """Mix neighbours in the batch with a share drawn from Beta(MIXUP, MIXUP); 0 does not."""
    cutmix: float = 0.0
    """Paste a box of the neighbour, its area drawn from Beta(CUTMIX, CUTMIX); with --mixup, each half of the time."""
    ema: float = 0.0
    """Decay of a moving average of parameters and statistics, such as 0.999, that is evaluated instead; 0 for none."""
    freeze: tuple[str, ...] = ()
    """Wildcards of parameters (and statistics) that stay as they are, such as 'stem*' 'stage[12]_*'."""

    teacher: Path | None = None
    """Also learn from the logits of this run's network (knowledge distillation)."""
    teacher_weight: float = 0.5
    """Its share in the loss."""
    temperature: float = 4.0
    """By which its logits and ours are divided."""

    schedule: Literal["constant", "cosine", "step", "exponential", "saw_tooth"] = "cosine"
    """How the learning rate falls after the warm-up; saw_tooth is that of DiCENet's authors."""
    warmup_epochs: float = 0.0
    """Linear rise from zero."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """step: at which shares of the run the rate is multiplied by --decay."""
    decay: float = 0.1
    """Factor of step and exponential."""
    decay_epochs: float = 1.0
    """exponential: epochs between two factors."""

    keep: int = 2
    """Checkpoints kept beside the best one."""
    wandb: str = ""
    """Also log to this project of Weights & Biases."""

    def __post_init__(self) -> None:
        checks = [
            (self.epochs >= 1, "epochs", "at least 1"),
            (self.batch_size >= 1, "batch_size", "at least 1"),
            (self.lr > 0, "lr", "greater than 0"),
            (0 <= self.label_smoothing < 1, "label_smoothing", "at least 0 and less than 1"),
            (0 <= self.momentum < 1, "momentum", "at least 0 and less than 1"),
            (self.weight_decay >= 0, "weight_decay", "at least 0"),
            (self.warmup_epochs >= 0, "warmup_epochs", "at least 0"),
            (self.warmup_epochs < self.epochs, "warmup_epochs", f"less than epochs={self.epochs}"),
            (all(0 < m < 1 for m in self.milestones), "milestones", "shares between 0 and 1"),
            (self.decay_epochs > 0, "decay_epochs", "greater than 0"),
            (0 < self.decay <= 1, "decay", "greater than 0 and at most 1"),
            (self.crop >= 0, "crop", "at least 0"),
            (self.image_size >= 0, "image_size", "at least 0"),
            (self.workers >= 0, "workers", "at least 0"),
            (0 <= self.jitter <= 1, "jitter", "from 0 to 1"),
            (0 <= self.erase <= 1, "erase", "from 0 to 1"),
            (
                self.randaugment[0] >= 0 and 0 <= self.randaugment[1] <= 30,
                "randaugment",
                "at least 0 operations, at a magnitude from 0 to 30",
            ),
            (self.devices >= 0, "devices", "at least 0"),
            (0 <= self.seed < 2**63, "seed", "at least 0 and less than 2**63"),
            (self.keep >= 1, "keep", "at least 1"),
            (self.epsilon >= 0, "epsilon", "at least 0"),
            (self.clip >= 0, "clip", "at least 0"),
            (self.accumulate >= 1, "accumulate", "at least 1"),
            (self.mixup >= 0, "mixup", "at least 0"),
            (self.cutmix >= 0, "cutmix", "at least 0"),
            (0 <= self.ema < 1, "ema", "at least 0 and less than 1"),
            (0 <= self.teacher_weight <= 1, "teacher_weight", "between 0 and 1"),
            (self.temperature > 0, "temperature", "greater than 0"),
        ]
        for ok, field, rule in checks:
            if not ok:
                flag = field.replace("_", "-")
                raise UserError(f"--{flag} {getattr(self, field)}: it must be {rule}")


@dataclasses.dataclass(frozen=True)
class RunConfig(Recipe):
    """One network under one recipe."""

    model: tyro.conf.Positional[str] = "separable_cnn"
    """Registered name; `jsep models` lists them."""
    factored: tuple[str, ...] = ()
    """Convolutions that are replaced by cheaper ones, as `jsep decompose` writes them."""
    init: Path | None = None
    """Begin with the weights of a run, whose config holds where no flag says otherwise, or of a .safetensors file.
    Where the classes differ in number, the classifier begins anew."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several networks under one recipe: what a file in experiments/ holds.

    models: registered names, each alone or with options of its own: "densenet100_k12_bc attention=se".
    """

    title: str
    models: tuple[str, ...]
    recipe: Recipe
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"--seeds {self.seeds}: it must be at least 1")
        if not self.models or not all(map(str.strip, self.models)):
            raise UserError("--models: name at least one network")
        if len(set(self.models)) < len(self.models):
            raise UserError(f"--models {' '.join(self.models)}: name each network once")

    def runs(self) -> list[RunConfig]:
        """Every network with every seed, seeds innermost."""
        recipe = {f.name: getattr(self.recipe, f.name) for f in dataclasses.fields(self.recipe)}
        first_seed, shared = recipe.pop("seed"), recipe.pop("options")
        return [
            RunConfig(model=model, options=(*shared, *own), seed=first_seed + i, **recipe)
            for model, *own in map(str.split, self.models)
            for i in range(self.seeds)
        ]

    def label(self, config: RunConfig) -> str:
        """How `models` names the network of one of the runs."""
        return " ".join([config.model, *config.options[len(self.recipe.options) :]])


def save_config(config: RunConfig, path: Path) -> None:
    """Write as JSON, one field a line."""
    text = json.dumps(dataclasses.asdict(config), indent=2, default=str)
    write_atomically(path, text + "\n")


def load_config(path: Path) -> RunConfig:
    """Read what `save_config` wrote.

    Raises:
        UserError: not JSON, or a field that this version does not know.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from error
    hints = typing.get_type_hints(RunConfig)
    for key in values:
        if key not in hints:
            raise UserError(f"{path} has a field {key!r} that this jsep does not know; {nearest(key, hints)}")
    try:
        return RunConfig(**{key: _typed(value, hints[key]) for key, value in values.items()})
    except TypeError as error:
        raise UserError(f"{path} holds a value of the wrong kind ({error})") from error


def _typed(value: Any, hint: Any) -> Any:
    """JSON has neither tuples nor paths."""
    if isinstance(value, list):
        return tuple(value)
    if value is not None and isinstance(hint, types.UnionType) and Path in hint.__args__:
        return Path(value)
    return value
