"""Exact counts of parameters, multiply-accumulates and FLOPs, layer by layer, without running the network.

The network is evaluated abstractly, on shapes only, and each layer is asked what it computes. The counts therefore do
not depend on how an operation is lowered. Multiply-accumulates on padding are counted, as the papers and the counters
for PyTorch do; XLA's own FLOP count leaves them out.
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
from jsep.layers.watch import Answer, path_of, watch
from jsep.ops.geometry import axes, pair

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """The arithmetic of one layer for one image.

    Attributes:
        macs: multiply-accumulates of convolutions, dense layers and weighted sums.
        flops: floating-point operations as TensorFlow's profiler counts them and published charts show them: 2 for
            each MAC, 1 for each element that a bias is added to, the size of the window for each pooled element, and
            2 for each element that is batch-normalised.
    """

    macs: int = 0
    flops: int = 0


@dataclass(frozen=True)
class LayerCost:
    """One call of a layer: a row of a `CostTable`.

    Attributes:
        path: where the layer lies in the network, such as stage1_block1/norm.
        kind: name of the layer's class.
        output: shape of its output, without the batch axis.
        params: number of its trainable parameters; 0 when the layer has been called before.
        cost: its arithmetic for one image; None for a layer with parameters whose class has no rule in this module.
    """

    path: str
    kind: str
    output: Shape
    params: int
    cost: Cost | None


@dataclass(frozen=True)
class CostTable:
    """The costs of a network, layer by layer, and their sums.

    Attributes:
        rows: one row for each call of a layer, in the order of evaluation.
    """

    rows: tuple[LayerCost, ...]

    @property
    def params(self) -> int:
        """Number of trainable parameters; running statistics are not among them."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(row.cost.macs for row in self.rows if row.cost)

    @property
    def flops(self) -> int:
        """Floating-point operations for one image, as TensorFlow's profiler counts them."""
        return sum(row.cost.flops for row in self.rows if row.cost)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Paths of the layers with parameters whose cost is missing from the sums."""
        return tuple(row.path for row in self.rows if row.cost is None)


def count(model: nn.Module, input_shape: Sequence[int], **call: Any) -> CostTable:
    """Count the parameters and the arithmetic of every layer of a network for one image.

    Works for any Linen module that consists of jsep's layers, `nn.Conv`, `nn.Dense` and `nn.BatchNorm`. A layer that is
    called twice counts its parameters once and its arithmetic twice.

    Args:
        model: the network.
        input_shape: height, width and channels of the image.
        **call: further arguments of the module's `__call__`, such as train=False.

    Returns:
        The layers with their costs.

    >>> table = count(create_model("regular_cnn"), (32, 32, 3))
    >>> table.params, table.macs, table.flops
    (5154890, 2911937152, 5825967818)
    >>> table.rows[-1]
    LayerCost(path='classifier', kind='Dense', output=(10,), params=650, cost=Cost(macs=640, flops=1290))
    """
    rows: list[LayerCost] = []
    seen: set[str] = set()

    def record(layer: nn.Module, call: Answer, *args: Any, **kwargs: Any) -> Any:
        before = len(rows)
        y = call(*args, **kwargs)
        own = _own_params(layer)
        rule = cost.dispatch(type(layer))
        known = rule is not cost.dispatch(object)
        if known and len(rows) > before:  # cheaper layers stood in for this one, see `jsep.models.factored`
            return y
        if known or own:
            path, output = path_of(layer), tuple(jax.tree.leaves(y)[0].shape[1:])
            paid = rule(layer, tuple(args[0].shape), (1, *output), own) if known else None
            rows.append(LayerCost(path, type(layer).__name__, output, 0 if path in seen else own, paid))
            seen.add(path)
        return y

    def evaluate(x: jax.Array) -> Any:
        with watch(record):
            return model.init(jax.random.key(0), x, **call)

    jax.eval_shape(evaluate, jax.ShapeDtypeStruct((1, *input_shape), jnp.float32))
    return CostTable(tuple(rows))


@singledispatch
def cost(module: nn.Module, x: Shape, y: Shape, params: int) -> Cost:
    """Return the cost of one call of a layer. Each class of layers registers its own rule.

    Args:
        module: the layer.
        x: shape of its input, batch axis included.
        y: shape of its output for one image, batch axis included.
        params: number of its own parameters.
    """
    raise TypeError(f"no rule for {type(module).__name__}")


def _products(macs: int, bias: bool, y: Shape) -> Cost:
    """Return the cost of a layer that multiplies and accumulates, and may add a bias to its output of shape `y`."""
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
    # plain additions are not multiply-accumulates, weighted ones are
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
    """Return the number of parameters that the module itself owns, without those of its submodules."""
    params = module.variables.get("params", {})
    return sum(math.prod(p.shape) for p in params.values() if hasattr(p, "shape"))
