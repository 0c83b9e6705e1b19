"""One thing to measure. Known to the parent and to every worker, so it imports neither JAX nor PyTorch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A task on a network, or on one convolution where `op` is said (`model` is then empty).

    task: for a network "train" is forward, backward and an SGD-momentum update, "infer" the forward pass in eval mode;
    for a convolution "train" is forward and both gradients, "infer" the forward pass.
    input_shape: height, width and channels. features: of the convolution's output.
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
        """JSON has no tuples, and a Linen module wants its options hashable."""

        def hashable(value: Any) -> Any:
            return tuple(map(hashable, value)) if isinstance(value, list) else value

        options = {key: hashable(value) for key, value in values["options"].items()}
        return cls(**{**values, "input_shape": tuple(values["input_shape"]), "options": options})
