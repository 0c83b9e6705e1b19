"""Any network with some of its dense convolutions replaced by products of cheaper ones.

The code of the network does not change: where it calls one of the named convolutions, the replacement is computed
instead, with parameters below the same name.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError, typed
from jsep.layers import Conv, PointwiseConv, SeparableConv, call_conv, path_of, watch
from jsep.models.registry import create_model
from jsep.models.stage import Stage
from jsep.ops.geometry import Padding, explicit_padding, pair

Kind = Literal["separable", "channel", "spatial", "dense"]


@dataclasses.dataclass(frozen=True)
class Factor:
    """A replacement of one convolution.

    Attributes:
        path: path of the convolution in its network.
        kind: "separable" is a depthwise convolution, batch norm and a pointwise convolution; "channel" a k x k
            convolution to `rank` features and a pointwise one; "spatial" a k x 1 convolution to `rank` features and a
            1 x k one; "dense" the convolution itself.
        rank: features between the two convolutions of "channel" and "spatial".
        bias: whether the last part has a bias, which is not needed in front of a batch norm.

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
    @typed
    def parse(cls, text: str) -> "Factor":
        """Return the replacement that a text describes: the inverse of `str`.

        Raises:
            UserError: the text does not describe one.
        """
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
    """Two convolutions in place of one.

    Attributes:
        features: output channels.
        rank: features between the two convolutions.
        kernel_size: see `Conv`.
        strides: see `Conv`.
        padding: see `Conv`.
        use_bias: whether the second convolution has a bias.
        dtype: dtype of the computation.
    """

    features: int
    rank: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int]
    padding: Padding
    use_bias: bool
    dtype: Dtype | None = None


class ChannelConv(_Ranked):
    """k x k convolution to `rank` features, then a pointwise one: (n, h, w, c) -> (n, h2, w2, features)."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        options: dict[str, Any] = {"use_bias": False, "dtype": self.dtype, "name": "reduce"}
        x = Conv(self.rank, self.kernel_size, self.strides, self.padding, **options)(x)
        return PointwiseConv(self.features, use_bias=self.use_bias, dtype=self.dtype, name="expand")(x)


class SpatialConv(_Ranked):
    """k x 1 convolution to `rank` features, then a 1 x k one: (n, h, w, c) -> (n, h2, w2, features)."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        (kh, kw), (down, across) = pair(self.kernel_size), pair(self.strides)
        rows, columns = explicit_padding(self.padding, x.shape[1:3], (kh, kw), (down, across))
        first: dict[str, Any] = {"use_bias": False, "dtype": self.dtype, "name": "rows"}
        x = Conv(self.rank, (kh, 1), (down, 1), (rows, (0, 0)), **first)(x)
        last: dict[str, Any] = {"use_bias": self.use_bias, "dtype": self.dtype, "name": "columns"}
        return Conv(self.features, (1, kw), (1, across), ((0, 0), columns), **last)(x)


class Factored(nn.Module):
    """A network with replaced convolutions. Its variables have the names of the network's own.

    Attributes:
        network: the network.
        factors: the replacements.
    """

    network: nn.Module
    factors: tuple[Factor, ...]

    def setup(self) -> None:
        nn.share_scope(self, self.network)

    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Return logits; with `features` also each stage by name.

        Raises:
            UserError: the network has no such convolution.
        """
        left = {factor.path: factor for factor in self.factors}

        def replace(layer: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
            if (path := path_of(layer)) not in left:
                return call(*args, **kwargs)
            replacement = _replacement(layer, left.pop(path), getattr(self.network, "axis_name", None))
            return call_conv(replacement, *args, train=train)

        with watch(replace, Conv):
            found = self.network(x, train=train, features=features)
        if left:
            raise UserError(f"{type(self.network).__name__} has no convolution {next(iter(left))} to replace")
        return found


def factored(network: nn.Module, texts: Sequence[str]) -> nn.Module:
    """Return a network with the replacements that `texts` describe, see `Factor.parse`; itself if there are none."""
    return Factored(network, tuple(map(Factor.parse, texts))) if texts else network


def create_factored(
    name: str, options: Mapping[str, Any], texts: Sequence[str], *, num_classes: int, **fields: Any
) -> nn.Module:
    """Build a registered network with replaced convolutions.

    Args:
        name: see `create_model`.
        options: options of the network.
        texts: the replacements, see `Factor.parse`.
        num_classes: number of logits.
        **fields: `dtype` and `axis_name` of the network.
    """
    return factored(create_model(name, num_classes=num_classes, **options, **fields), texts)


def _replacement(layer: Conv, factor: Factor, axis_name: str | None) -> nn.Module:
    # bound to the scope of the layer that it replaces, which is not called itself
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
