"""The settings of a benchmark, and the cases that follow from them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jsep.bench.case import Case
from jsep.errors import UserError, nearest, require, require_types
from jsep.models import model_info

USUAL = ("jsep", "xla", "torch", "torch.compile")  # by default
CONTENDERS = (*USUAL, "jsep.plain")
TASKS = ("train", "infer")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class BenchConfig:
    """Time a network, or single convolutions, against plain Flax and PyTorch."""

    model: Annotated[Positional[str], arg(metavar="[MODEL]")] = "mobilenet_v1"
    """Registered name; `jsep models` lists them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the network, such as input=cifar."""
    input_shape: tuple[int, int, int] | None = None
    """Height, width and channels of the images; the published input by default."""
    batch_size: int = 64
    """Images per iteration of a network."""

    op: Literal["none", "depthwise", "pointwise", "dense"] = "none"
    """Time this convolution instead of a network, for all --shapes, --kernels and --strides."""
    shapes: tuple[str, ...] = ()
    """Inputs of the convolution as batch x height x width x channels, such as 32x32x32x128."""
    kernels: tuple[int, ...] = (3,)
    """Kernel sizes; those of pointwise convolutions are always 1."""
    strides: tuple[int, ...] = (1,)
    """Strides of the convolution."""
    features: int = 0
    """Channels of the convolution's output; 0 means as many as the input has."""

    tasks: tuple[str, ...] = TASKS
    """train: a training step, or forward and both gradients of a convolution; infer: the forward pass."""
    dtypes: tuple[str, ...] = ("float32",)
    """Types of the computation: float32, bfloat16."""
    contenders: tuple[str, ...] = USUAL
    """Implementations to time: jsep, xla (jsep with Flax's convolutions), torch and torch.compile (channels_last), or
    jsep.plain (jsep without its native kernels)."""
    torch_python: Path | None = None
    """Python interpreter of an environment with PyTorch, if it is not installed beside JAX."""
    rounds: int = 5
    """Times that the contenders take turns."""
    iterations: int = 3
    """Measurements of each contender per round."""
    out: Path = Path("runs/bench")
    """Folder of bench.csv, bench.png and bench.svg."""

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("rounds", "iterations", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.features >= 0, "features", self.features, "at least 0")
        for name, known in (("tasks", TASKS), ("dtypes", DTYPES), ("contenders", CONTENDERS)):
            _check_list(name, getattr(self, name))
            for word in getattr(self, name):
                if word not in known:
                    raise UserError(f"`{name}`={word}: there is no such choice; {nearest(word, known)}")
        for name in ("kernels", "strides"):
            _check_list(name, getattr(self, name))
            require(min(getattr(self, name)) >= 1, name, min(getattr(self, name)), "at least 1")
        if self.torch_python and not self.torch_python.is_file():
            raise UserError(f"`torch_python`={self.torch_python}: there is no such file; name an interpreter")
        if self.input_shape and min(self.input_shape) < 1:
            size = "x".join(map(str, self.input_shape))
            raise UserError(f"`input_shape`={size}: height, width and channels must be at least 1")
        if (self.op == "none") == bool(self.shapes):
            raise UserError("`op` and `shapes` belong together, such as --op depthwise --shapes 32x32x32x128")

    def cases(self) -> list[Case]:
        """Return all cases to measure; tasks vary fastest.

        Raises:
            UserError: there is no such network, or a shape or `features` does not fit.
        """
        if self.op == "none":
            info = model_info(self.model)
            shape, options = self.input_shape or info.input_shape, dict(self.options)
            return [
                Case(task, dtype, self.batch_size, shape, self.model, options, info.num_classes)
                for dtype, task in itertools.product(self.dtypes, self.tasks)
            ]
        kernels = (1,) if self.op == "pointwise" else self.kernels
        cases = []
        for dtype, text, kernel, stride, task in itertools.product(
            self.dtypes, self.shapes, kernels, self.strides, self.tasks
        ):
            batch_size, height, width, channels = _shape(text)
            features = self.features or channels
            if self.op == "depthwise" and features % channels:
                raise UserError(f"`features`={features}: depthwise needs a multiple of the {channels} channels")
            convolution = {"op": self.op, "kernel_size": kernel, "stride": stride, "features": features}
            cases.append(Case(task, dtype, batch_size, (height, width, channels), **convolution))
        return cases


def _check_list(name: str, values: Sequence[Any]) -> None:
    if not values or len(set(values)) < len(values):
        raise UserError(f"`{name}`={' '.join(map(str, values))}: name at least one, and each once")


def _shape(text: str) -> list[int]:
    sizes = text.split("x")
    if len(sizes) != 4 or not all(size.isdecimal() and int(size) for size in sizes):
        raise UserError(f"`shapes`={text}: write batch x height x width x channels, such as 32x32x32x128")
    return [int(size) for size in sizes]
