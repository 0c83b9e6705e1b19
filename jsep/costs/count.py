"""Exact counts of parameters, multiply-accumulates and FLOPs, layer by layer, without running the network.

The network is evaluated abstractly, on shapes only, and each layer is asked what it computes. The counts therefore do
not depend on how an operation is lowered. Multiply-accumulates on padding are counted, as the papers and the counters
for PyTorch do; XLA's own FLOP count leaves them out.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core

from jsep import layers, ops
from jsep.errors import require
from jsep.layers.watch import Answer, path_of, watch
from jsep.ops.geometry import axes, pair
from jsep.trees import flatten

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
        cost: its arithmetic for one image; None for a layer with parameters whose class has no rule in this module, and
            for a layer inside a `while` loop.
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
    called twice counts its parameters once and its arithmetic twice, and one inside `nn.scan` counts its arithmetic
    for every step.

    Args:
        model: the network.
        input_shape: height, width and channels of the image.
        **call: further arguments of the module's `__call__`, such as train=False.

    Returns:
        The layers with their costs.

    Raises:
        UserError: `input_shape` is not that of an image, or the network does not take it.

    >>> table = count(create_model("regular_cnn"), (32, 32, 3))
    >>> table.params, table.macs, table.flops
    (5154890, 2911937152, 5825967818)
    >>> table.rows[-1]
    LayerCost(path='classifier', kind='Dense', output=(10,), params=650, cost=Cost(macs=640, flops=1290))
    """
    require(isinstance(model, nn.Module), "model", model, "a Linen module, such as `create_model` returns")
    height, width, channels = image_shape(input_shape)
    rows: list[LayerCost] = []  # of every trace of a layer: nn.scan traces its body several times

    def record(layer: nn.Module, call: Answer, *args: Any, **kwargs: Any) -> Any:
        before = len(rows)
        y = call(*args, **kwargs)
        own = _own_params(layer)
        rule = cost.dispatch(type(layer))
        known = rule is not cost.dispatch(object)
        if known and len(rows) > before:  # cheaper layers stood in for this one, see `jsep.models.factored`
            return y
        if known or own:
            (first, *others), tree = jax.tree.flatten(y)
            output = tuple(first.shape[1:])
            paid = rule(layer, tuple(args[0].shape), (1, *output), own) if known else None
            # the name stays in the program, where loops say how often it is computed
            y = tree.unflatten([checkpoint_name(first, f"{_ROW}{len(rows)}"), *others])
            rows.append(LayerCost(path_of(layer), type(layer).__name__, output, own, paid))
        return y

    def evaluate(x: jax.Array) -> Any:
        with watch(record):
            return model.init(jax.random.key(0), x, **call)

    x = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
    with ops.for_another_machine():  # the same program everywhere, and traced sooner
        program, variables = jax.make_jaxpr(evaluate, return_shape=True)(x)
    params = _params_by_layer(variables)
    counted = []
    for at, elements in sorted(_computed(program.jaxpr, 1).items()):
        row = rows[at]
        times, one = elements // max(1, math.prod(row.output)), row.cost  # in loops, or on several parts of the image
        paid = Cost(one.macs * times, one.flops * times) if one and times else None
        counted.append(dataclasses.replace(row, params=params.pop(row.path, 0), cost=paid))
    return CostTable(tuple(counted))


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return height, width and channels of an image.

    Raises:
        UserError: these are not three whole numbers of at least 1, such as with a batch axis in front.
    """
    whole = isinstance(shape, Sequence) and all(isinstance(side, int | np.integer) and side >= 1 for side in shape)
    require(whole and len(shape) == 3, "input_shape", shape, "height, width and channels, each at least 1")
    height, width, channels = map(int, shape)
    return height, width, channels


_ROW = "jsep.costs row "  # before the number of a row, in the name of a layer's output


def _computed(program: Any, steps: int) -> dict[int, int]:
    """Return how many elements of each row a program computes; 0 inside a `while`, whose number of steps is unknown."""
    found: Counter[int] = Counter()
    for equation in program.eqns:
        name = equation.params.get("name", "") if equation.primitive.name == "name" else ""
        if name.startswith(_ROW):
            found[int(name.removeprefix(_ROW))] += steps * equation.outvars[0].aval.size
        inside = {"scan": equation.params.get("length"), "while": 0}.get(equation.primitive.name, 1)
        for inner in core.jaxprs_in_params(equation.params):
            found.update(_computed(inner, steps * inside))
    return found


def _params_by_layer(variables: Any) -> dict[str, int]:
    """Return the number of parameters that each layer owns itself, by its path."""
    found: dict[str, int] = {}
    for path, leaf in flatten(variables.get("params", {})).items():
        layer = path.rpartition("/")[0]
        found[layer] = found.get(layer, 0) + math.prod(leaf.shape)
    return found


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
def _(module: layers.L2Norm, x: Shape, y: Shape, params: int) -> Cost:
    return Cost()


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
@cost.register(layers.GroupNorm)
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
