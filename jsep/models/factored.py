"""Any network with some of its dense convolutions replaced by products of cheaper ones.

The network's own code stays as it is: where it calls one of the named convolutions, the replacement answers, with
parameters below the same name.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import Conv, PointwiseConv, SeparableConv
from jsep.models.registry import create_model
from jsep.models.stage import Stage
from jsep.ops.geometry import Padding, explicit_padding, pair

Kind = Literal["separable", "channel", "spatial", "dense"]


@dataclasses.dataclass(frozen=True)
class Factor:
    """What stands in for the convolution at `path`.

    kind: separable is depthwise, batch norm, pointwise; channel a k x k convolution to `rank` features and a pointwise
    one; spatial a k x 1 convolution to `rank` features and a 1 x k one; dense the convolution itself.
    bias: the last part has one (a batch norm behind it needs none).

    >>> Factor.parse("stage1_conv2=channel:12+bias")
    Factor(path='stage1_conv2', kind='channel', rank=12, bias=True)
    >>> str(Factor("stage1_conv2", "separable"))
    'stage1_conv2=separable'
    """

    path: str
    kind: Kind
    rank: int = 0
    bias: bool = False

    def __str__(self) -> str:
        return f"{self.path}={self.kind}{f':{self.rank}' if self.rank else ''}{'+bias' if self.bias else ''}"

    @classmethod
    def parse(cls, text: str) -> "Factor":
        """The inverse of `str`; anything else is a `UserError`."""
        path, _, what = text.partition("=")
        what, plus, bias = what.partition("+")
        kind, colon, rank = what.partition(":")
        ranked = kind in ("channel", "spatial")
        fits = (
            kind in typing.get_args(Kind)
            and bool(colon) == ranked
            and bias in ("", "bias")
            and bool(plus) == bool(bias)
        )
        if not path or not fits or (ranked and not (rank.isdecimal() and int(rank))):
            raise UserError(
                f"{text!r} is no replacement: write PATH=separable, PATH=channel:RANK or PATH=spatial:RANK, "
                "with +bias behind it where no batch norm follows"
            )
        return cls(path, typing.cast(Kind, kind), int(rank or 0), bool(bias))


class _Ranked(nn.Module):
    """What two convolutions in a row need to know of the one that they stand for; `rank` features lie between them."""

    features: int
    rank: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int]
    padding: Padding
    use_bias: bool
    dtype: Dtype | None = None


class ChannelConv(_Ranked):
    """A k x k convolution to `rank` features, then a pointwise one: (n, h, w, c) -> (n, h2, w2, features)."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        options: dict[str, Any] = {"use_bias": False, "dtype": self.dtype, "name": "reduce"}
        x = Conv(self.rank, self.kernel_size, self.strides, self.padding, **options)(x)
        return PointwiseConv(self.features, use_bias=self.use_bias, dtype=self.dtype, name="expand")(x)


class SpatialConv(_Ranked):
    """A k x 1 convolution to `rank` features, then a 1 x k one: (n, h, w, c) -> (n, h2, w2, features)."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        (kh, kw), (down, across) = pair(self.kernel_size), pair(self.strides)
        rows, columns = explicit_padding(self.padding, x.shape[1:3], (kh, kw), (down, across))
        first: dict[str, Any] = {"use_bias": False, "dtype": self.dtype, "name": "rows"}
        x = Conv(self.rank, (kh, 1), (down, 1), (rows, (0, 0)), **first)(x)
        last: dict[str, Any] = {"use_bias": self.use_bias, "dtype": self.dtype, "name": "columns"}
        return Conv(self.features, (1, kw), (1, across), ((0, 0), columns), **last)(x)


class Factored(nn.Module):
    """`network` with the convolutions that `factors` name replaced; its variables are named as the network's own."""

    network: nn.Module
    factors: tuple[Factor, ...]

    def setup(self) -> None:
        nn.share_scope(self, self.network)

    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name.

        Raises:
            UserError: the network has no such convolution.
        """
        left = {factor.path: factor for factor in self.factors}

        def replace(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
            layer = context.module
            path = "/".join(layer.path)
            if not isinstance(layer, Conv) or context.method_name != "__call__" or path not in left:
                return call(*args, **kwargs)
            replacement = _replacement(layer, left.pop(path), getattr(self.network, "axis_name", None))
            return replacement(*args, train=train) if isinstance(replacement, SeparableConv) else replacement(*args)

        with nn.intercept_methods(replace):
            found = self.network(x, train=train, features=features)
        if left:
            raise UserError(f"{type(self.network).__name__} has no convolution {next(iter(left))} to replace")
        return found


def factored(network: nn.Module, texts: Sequence[str]) -> nn.Module:
    """`network` with the replacements that `texts` describe, see `Factor.parse`; itself where there are none."""
    return Factored(network, tuple(map(Factor.parse, texts))) if texts else network


def create_factored(
    name: str, options: Mapping[str, Any], texts: Sequence[str], *, num_classes: int, **fields: Any
) -> nn.Module:
    """The network that a run folder names: `create_model` with `options` as texts, and with the replacements."""
    return factored(create_model(name, num_classes=num_classes, **options, **fields), texts)


def _replacement(layer: Conv, factor: Factor, axis_name: str | None) -> nn.Module:
    # bound to the scope of the layer it stands in for, which itself is not called
    common: dict[str, Any] = {"use_bias": factor.bias, "dtype": layer.dtype, "parent": layer.scope}
    geometry = (layer.kernel_size, layer.strides, layer.padding)
    match factor.kind:
        case "separable":
            return SeparableConv(layer.features, *geometry, inner="bn", axis_name=axis_name, **common)
        case "channel":
            return ChannelConv(layer.features, factor.rank, *geometry, **common)
        case "spatial":
            return SpatialConv(layer.features, factor.rank, *geometry, **common)
        case "dense":
            return Conv(layer.features, *geometry, **common)
