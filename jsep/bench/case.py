"""A case of a benchmark. The parent and every worker import this file, so it imports neither JAX nor PyTorch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A task to time, on a network or on a single convolution.

    Attributes:
        task: "infer" for a forward pass in evaluation mode, with the suppression of a detector's boxes. "train" for a
            training step with SGD and momentum, or, for a convolution, for the forward pass and both gradients.
        dtype: type of the computation, "float32" or "bfloat16".
        batch_size: images per iteration.
        input_shape: height, width and channels of the input.
        model: registered name of the network; empty for a convolution.
        options: options of the network.
        num_classes: number of classes of the network.
        op: the convolution, "depthwise", "pointwise" or "dense"; empty for a network.
        kernel_size: side of the convolution's kernel.
        stride: stride of the convolution.
        features: channels of the convolution's output.
    """

    task: str
    dtype: str
    batch_size: int
    input_shape: tuple[int, int, int]
    model: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    num_classes: int = 0
    op: str = ""
    kernel_size: int = 0
    stride: int = 0
    features: int = 0

    def __str__(self) -> str:
        size = "x".join(map(str, (self.batch_size, *self.input_shape)))
        if self.op:
            what = f"{self.op} {self.kernel_size}x{self.kernel_size} to {self.features}, stride {self.stride}"
            task = "forward and both gradients" if self.task == "train" else "forward"
        else:
            what = " ".join([self.model, *(f"{key}={value}" for key, value in self.options.items())])
            task = "training step" if self.task == "train" else "inference"
        return f"{what}, {size} {self.dtype}, {task}"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Case":
        """Make a case from the JSON of its fields: lists become tuples, since Linen modules need hashable options."""

        def hashable(value: Any) -> Any:
            return tuple(map(hashable, value)) if isinstance(value, list) else value

        options = {key: hashable(value) for key, value in values["options"].items()}
        return cls(**{**values, "input_shape": tuple(values["input_shape"]), "options": options})
