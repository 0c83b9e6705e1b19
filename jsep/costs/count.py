"""Exact parameter, MAC and FLOP counts, layer by layer, without computing anything.

The layers are asked what they compute while the network is evaluated abstractly (shapes only), so the counts do not
depend on how an operation is lowered. Multiply-accumulates on padding count, as the papers and PyTorch's counters
have it (XLA's own FLOP count leaves them out).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jsep import layers
from jsep.ops.geometry import axes, pair

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """Of one layer and one image: multiply-accumulates of products, and profiler-style FLOPs.

    flops: 2 for a MAC, 1 for each element that a bias is added to, the window's size for each pooled element,
    2 for each element of a batch norm. This is what TensorFlow's profiler counts, and published charts show.
    """

    macs: int = 0
    flops: int = 0


@dataclass(frozen=True)
class Row:
    """One layer: its path, what it is, its output (without the batch axis), trainable parameters and cost.

    cost is none for a layer that owns parameters but whose kind the counter does not know.
    """

    path: str
    kind: str
    output: Shape
    params: int
    cost: Cost | None


@dataclass(frozen=True)
class Table:
    """All layers in the order of evaluation, and their sums."""

    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        """Trainable parameters (running statistics are none)."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image: convolutions and dense layers."""
        return sum(row.cost.macs for row in self.rows if row.cost)

    @property
    def flops(self) -> int:
        """Profiler-style FLOPs of one image."""
        return sum(row.cost.flops for row in self.rows if row.cost)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Paths of layers with parameters whose cost is not counted."""
        return tuple(row.path for row in self.rows if row.cost is None)


def count(model: nn.Module, input_shape: Sequence[int], **call: Any) -> Table:
    """Count a network's layers for one image of `input_shape` (height, width, channels).

    Works for any Linen module made of jsep's layers, `nn.Conv`, `nn.Dense` and `nn.BatchNorm`.
    A layer that is called twice counts its parameters once and its work twice. `call` holds what else the module's
    call needs (`train=False`).

    >>> table = count(create_model("regular_cnn"), (32, 32, 3))
    >>> table.params, table.macs, table.flops
    (5154890, 2911937152, 5825967818)
    """
    rows: list[Row] = []
    seen: set[str] = set()

    def record(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        before = len(rows)
        y = call(*args, **kwargs)
        module = context.module
        if context.method_name != "__call__":
            return y
        path = "/".join(module.path)
        own = _own_params(module)
        rule = cost.dispatch(type(module))
        known = rule is not cost.dispatch(object)
        if known and len(rows) > before:  # others answered in its stead, see `jsep.models.factored`
            return y
        if known or own:
            params = 0 if path in seen else own
            output = tuple(jax.tree.leaves(y)[0].shape[1:])
            paid = rule(module, tuple(args[0].shape), (1, *output), own) if known else None
            rows.append(Row(path, type(module).__name__, output, params, paid))
            seen.add(path)
        return y

    def evaluate(x: jax.Array) -> Any:
        with nn.intercept_methods(record):
            return model.init(jax.random.key(0), x, **call)

    jax.eval_shape(evaluate, jax.ShapeDtypeStruct((1, *input_shape), jnp.float32))
    return Table(tuple(rows))


@singledispatch
def cost(module: nn.Module, x: Shape, y: Shape, params: int) -> Cost:
    """The cost of one call from the shapes that went in and came out; one rule a kind of layer."""
    raise TypeError(f"no rule for {type(module).__name__}")


def _products(macs: int, bias: bool, y: Shape) -> Cost:
    return Cost(macs, 2 * macs + bias * math.prod(y))


@cost.register
def _(module: layers.Conv, x: Shape, y: Shape, params: int) -> Cost:
    taps = math.prod(pair(module.kernel_size))
    return _products(taps * x[-1] // module.groups * math.prod(y), module.use_bias, y)


@cost.register
def _(module: layers.PointwiseConv, x: Shape, y: Shape, params: int) -> Cost:
    return _products(x[-1] * math.prod(y), module.use_bias, y)


@cost.register
def _(module: layers.DepthwiseConv, x: Shape, y: Shape, params: int) -> Cost:
    taps = math.prod(axes(module.kernel_size, len(x) - 2))
    return _products(taps * math.prod(y), module.use_bias, y)


@cost.register
def _(module: layers.GroupSum, x: Shape, y: Shape, params: int) -> Cost:
    # additions are no multiply-accumulates; a weighting is
    return _products(math.prod(x[1:]) if module.weighted else 0, False, y)


@cost.register
def _(module: layers.PReLU, x: Shape, y: Shape, params: int) -> Cost:
    return Cost()


@cost.register
def _(module: layers.RollingPointwiseConv, x: Shape, y: Shape, params: int) -> Cost:
    return _products(params * math.prod(y[:-1]), False, y)


@cost.register
def _(module: layers.PairWeightedKernelSharingConv, x: Shape, y: Shape, params: int) -> Cost:
    taps = math.prod(pair(module.kernel_size))
    return _products(math.prod(x[1:]) * module.features + taps * module.groups * math.prod(y), False, y)


@cost.register
def _(module: nn.Conv, x: Shape, y: Shape, params: int) -> Cost:
    taps = module.kernel_size if isinstance(module.kernel_size, int) else math.prod(module.kernel_size)
    macs = taps * x[-1] // module.feature_group_count * math.prod(y)
    return _products(macs, module.use_bias, y)


@cost.register
def _(module: nn.Dense, x: Shape, y: Shape, params: int) -> Cost:
    return _products(x[-1] * math.prod(y), module.use_bias, y)


@cost.register(layers.BatchNorm)
@cost.register(nn.BatchNorm)
def _(module: nn.Module, x: Shape, y: Shape, params: int) -> Cost:
    return Cost(0, 2 * math.prod(y))


@cost.register(layers.MaxPool)
@cost.register(layers.AvgPool)
def _(module: layers.MaxPool | layers.AvgPool, x: Shape, y: Shape, params: int) -> Cost:
    return Cost(0, math.prod(pair(module.window)) * math.prod(y))


@cost.register
def _(module: layers.GlobalAvgPool, x: Shape, y: Shape, params: int) -> Cost:
    return Cost(0, math.prod(x[1:]))


def _own_params(module: nn.Module) -> int:
    """Parameters of the module itself, without its submodules."""
    params = module.variables.get("params", {})
    return sum(math.prod(p.shape) for p in params.values() if hasattr(p, "shape"))
