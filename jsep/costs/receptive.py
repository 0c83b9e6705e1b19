"""Three-dimensional receptive fields: how much of a stage's input its output units see, in space and in channels.

After Wang et al., arXiv 2009.05236. The abstract names the metric and its use; the formula was not accessible, so this
is a reconstruction, and must be labelled as one wherever its values are shown.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend import core
from jaxtyping import Bool, Int

from jsep import layers
from jsep.costs.count import image_shape
from jsep.layers.rolling import rolling_windows
from jsep.layers.watch import Answer, watch
from jsep.ops.geometry import Pair, pair

Reach = Bool[np.ndarray, "outputs inputs"]
Sides = Int[np.ndarray, "2"]  # along height and width
ONE = np.ones(2, int)


@dataclass(frozen=True)
class StageField:
    """The part of a stage's input that a unit at its end sees.

    Attributes:
        name: name of the stage.
        side: height of the input in pixels.
        field: longer side of the receptive field, in pixels of the input.
        channels: number of channels of the input.
        reach: share of these channels that a unit sees, from 0 to 1, averaged over the output channels.
    """

    name: str
    side: int
    field: int
    channels: int
    reach: float

    @property
    def volume(self) -> float:
        """Number of input values that a unit sees: the area of the field times the channels."""
        return self.field**2 * self.reach * self.channels

    @property
    def score(self) -> float:
        """Share of the input that a unit sees: the squared share of the side (at most 1) times that of the channels."""
        return min(1.0, self.field / self.side) ** 2 * self.reach


def network_score(stages: Sequence[StageField]) -> float:
    """Return the geometric mean of the scores of all stages."""
    return math.prod(stage.score for stage in stages) ** (1 / len(stages))


def receptive_fields(model: nn.Module, input_shape: Sequence[int]) -> tuple[list[StageField], int]:
    """Measure the receptive fields of a network's stages.

    Attention counts by the channels that it connects, not by the area that it averages over. Shifts of data widen no
    field.

    Args:
        model: a network that takes `features=True`.
        input_shape: height, width and channels of the image.

    Returns:
        The field of each stage in its own input, the first stage's in the image; and the longer side of the last
        stage's field in pixels of the image.

    >>> stages, field = receptive_fields(create_model("resnet20", depth=8), (32, 32, 3))
    >>> [(stage.name, stage.field, stage.side) for stage in stages], field
    ([('stage1', 7, 32), ('stage2', 7, 32), ('stage3', 7, 16)], 25)
    """
    jaxpr, names, ends = _trace(model, input_shape)
    (image,) = jaxpr.jaxpr.invars
    starts: list[Any] = [image, *ends[:-1]]
    found = []
    for name, start, end in zip(names, starts, ends, strict=True):
        seen = _follow(jaxpr.jaxpr, start, end)
        shape = start.aval.shape
        found.append(StageField(name, shape[1], int(seen.field.max()), shape[3], float(seen.by_channel().mean())))
    return found, int(_follow(jaxpr.jaxpr, image, ends[-1]).field.max())


# stands for a layer in the program: how it widens the field, and which channels it connects
_mark = core.Primitive("receptive_mark")
_mark.def_abstract_eval(lambda *_, shape, **__: ShapedArray(shape, jnp.float32))


@dataclass(frozen=True)
class _Widening:
    """A window of `span` input positions that moves by `stride`, along height and width."""

    span: Pair = (1, 1)
    stride: Pair = (1, 1)


def _trace(model: nn.Module, input_shape: Sequence[int]) -> tuple[Any, list[str], list[Any]]:
    """Return the network's program with marks in place of layers, the names of its stages, and their last variables."""
    x = jax.ShapeDtypeStruct((1, *image_shape(input_shape)), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    names: list[str] = []

    def mark(layer: nn.Module, call: Answer, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else None
        if isinstance(layer, layers.BatchNorm | layers.PReLU):
            return x
        known = _layer(layer, x.shape) if isinstance(x, jax.Array) else None
        if known is None:
            return call(*args, **kwargs)
        y = jax.eval_shape(lambda x: call(x, **kwargs), x)
        widening, connect = known
        return _mark.bind(x, shape=y.shape, widening=widening, connect=connect)

    def maps(x: jax.Array) -> list[jax.Array]:
        with watch(mark):
            _, stages = model.apply(zeros, x, features=True)
        names[:] = stages
        return [stage.maps for stage in stages.values()]

    jaxpr = jax.make_jaxpr(maps)(x)
    return jaxpr, names, list(jaxpr.jaxpr.outvars)


def _layer(layer: nn.Module, shape: Sequence[int]) -> tuple[_Widening, Callable[[int, int], Reach]] | None:
    """Return a layer's window and its function from (outputs, inputs) to `Reach`; None for a class without a rule."""
    match layer:
        case layers.Conv():
            return _window(layer.kernel_size, layer.strides, layer.dilation), _grouped(layer.groups)
        case layers.DepthwiseConv():
            return _window(layer.kernel_size, layer.strides, layer.dilation), _grouped(shape[-1])
        case layers.PointwiseConv():
            return _window(1, layer.strides, 1), _grouped(1)
        case layers.MaxPool() | layers.AvgPool():
            return _window(layer.window, layer.strides or layer.window, 1), _grouped(shape[-1])
        case layers.GlobalAvgPool():
            return _Widening(), _grouped(shape[-1])
        case layers.GroupSum():
            return _Widening(), _interleaved if layer.interleaved else _grouped(layer.groups)
        case layers.SqueezeExcite():
            return _Widening(), _grouped(1)
        case layers.EfficientChannelAttention():
            return _Widening(), _neighbours(layer.kernel_size or layers.eca_kernel_size(shape[-1]))
        case layers.DiCE():  # its gate looks at all channels
            return _window(5, layer.strides, 1), _grouped(1)
        case layers.RollingPointwiseConv():
            return _Widening(), _rolling(layer)
        case nn.Dense():
            return _Widening(), _grouped(1)
    return None


def _window(kernel: Any, strides: Any, dilation: Any) -> _Widening:
    rows, columns = ((size - 1) * spread + 1 for size, spread in zip(pair(kernel), pair(dilation), strict=True))
    return _Widening((rows, columns), pair(strides))


# Each of these makes a function that tells which input channels each output channel is computed from.
def _grouped(groups: int) -> Callable[[int, int], Reach]:
    return lambda outputs, inputs: np.kron(
        np.eye(groups, dtype=bool), np.ones((outputs // groups, inputs // groups), bool)
    )


def _interleaved(outputs: int, inputs: int) -> Reach:
    return np.arange(inputs)[None] % outputs == np.arange(outputs)[:, None]


def _neighbours(size: int) -> Callable[[int, int], Reach]:
    def connect(outputs: int, inputs: int) -> Reach:
        return np.abs(np.arange(outputs)[:, None] - np.arange(inputs)) <= size // 2

    return connect


def _rolling(layer: layers.RollingPointwiseConv) -> Callable[[int, int], Reach]:
    def connect(outputs: int, inputs: int) -> Reach:
        return rolling_reach(inputs, outputs, layer.groups, layer.overlap, layer.order)

    return connect


def rolling_reach(inputs: int, outputs: int, groups: int, overlap: float, order: str = "block") -> Reach:
    """Return which input channels each output channel of a rolling pointwise convolution reads.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        groups: number of groups.
        overlap: share of its channels that a group has in common with the next one.
        order: "block" gives neighbouring outputs to the same group, "cyclic" gives them to the groups in turn.
    """
    windows = rolling_windows(inputs, groups, overlap) if groups > 1 else np.arange(inputs)[None]
    of_window = np.zeros((len(windows), inputs), bool)
    of_window[np.arange(len(windows))[:, None], windows] = True
    each = np.arange(outputs)
    return of_window[each * len(windows) // outputs if order == "block" else each % len(windows)]


@dataclass(frozen=True)
class _Seen:
    """The part of the start that the elements of an array see.

    Attributes:
        field: sides of an element's window, in pixels of the start.
        jump: distance between the windows of neighbouring elements, in pixels of the start.
        ids: for each element, the index of its row in `rows`.
        rows: which channels of the start an element sees.
    """

    field: Sides
    jump: Sides
    ids: np.ndarray
    rows: Reach

    def by_channel(self) -> Reach:
        """Return the rows of the elements along the last axis, at the first position of all other axes."""
        return self.rows[self.ids.reshape(-1, self.ids.shape[-1])[0]]


def _fresh(shape: Sequence[int], field: Sides, jump: Sides, rows: Reach) -> _Seen:
    return _Seen(field, jump, np.broadcast_to(np.arange(shape[-1]), shape), rows)


def _follow(jaxpr: Any, start: Any, end: Any) -> _Seen:
    """Return what the array `end` sees of `start`; arrays that do not depend on `start` see nothing."""
    known: dict[Any, _Seen] = {start: _fresh(start.aval.shape, ONE, ONE, np.eye(start.aval.shape[-1], dtype=bool))}
    _advance(jaxpr.eqns, known)
    return known[end]


def _advance(equations: Sequence[Any], known: dict[Any, _Seen]) -> None:
    """Add to `known` all arrays that depend on those in it, and leave those in it unchanged."""
    for equation in equations:
        ins = [known.get(v) if isinstance(v, core.Var) else None for v in equation.invars]
        if any(ins) and not known.keys() & set(equation.outvars):
            known.update(zip(equation.outvars, _through(equation, ins), strict=True))


def _through(equation: Any, ins: list[_Seen | None]) -> list[_Seen]:
    """Return what the outputs of an equation see, given what its inputs see."""
    present = [seen for seen in ins if seen]
    field, jump = (np.max([getattr(seen, side) for seen in present], axis=0) for side in ("field", "jump"))
    shapes = [v.aval.shape for v in equation.outvars]
    if equation.primitive is _mark:
        (seen,) = present
        window: _Widening = equation.params["widening"]
        rows = seen.by_channel()
        reached = equation.params["connect"](shapes[0][-1], len(rows)).astype(np.float32) @ rows.astype(np.float32) > 0
        field = field + (np.asarray(window.span) - 1) * jump
        return [_fresh(shapes[0], field, jump * window.stride, reached)]
    if "jaxpr" in equation.params or "call_jaxpr" in equation.params:
        return _inner(equation, ins)
    width = present[0].rows.shape[1]
    if equation.primitive.name in _MOVES:
        return _moved(equation, ins, field, jump, width)
    # elementwise, or a sum over positions: each channel sees what it saw in any operand
    parts = []
    for seen in present:
        rows = seen.by_channel()
        parts.append(rows if len(rows) == shapes[0][-1] else np.broadcast_to(rows.any(0), (shapes[0][-1], width)))
    return [_fresh(shape, field, jump, reduce(np.logical_or, parts)) for shape in shapes]


_MOVES = {"reshape", "transpose", "slice", "concatenate", "split", "squeeze", "rev", "broadcast_in_dim", "pad"}


def _moved(equation: Any, ins: list[_Seen | None], field: Sides, jump: Sides, width: int) -> list[_Seen]:
    """Handle an equation that only moves data: move the indices of the rows in the same way."""
    rows, operands = [np.zeros((1, width), bool)], []  # row 0 sees nothing: for data that does not depend on the start
    total = 1
    for variable, seen in zip(equation.invars, ins, strict=True):
        if seen is None:
            operands.append(jnp.zeros(variable.aval.shape, jnp.int32))
            continue
        operands.append(jnp.asarray(seen.ids + total, jnp.int32))
        rows.append(seen.rows)
        total += len(seen.rows)
    moved = equation.primitive.bind(*operands, **equation.params)
    outputs = moved if equation.primitive.multiple_results else [moved]
    return [_Seen(field, jump, np.asarray(ids), np.concatenate(rows)) for ids in outputs]


def _inner(equation: Any, ins: list[_Seen | None]) -> list[_Seen]:
    """Follow the start through a function that the program calls, such as a jitted one."""
    closed = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
    inner = getattr(closed, "jaxpr", closed)
    known = {v: seen for v, seen in zip(inner.invars, ins, strict=False) if seen}
    nothing = next(seen for seen in ins if seen)
    _advance(inner.eqns, known)
    blind = np.zeros((1, nothing.rows.shape[1]), bool)

    def result(variable: Any) -> _Seen:
        if isinstance(variable, core.Var) and variable in known:
            return known[variable]
        aval: Any = variable.aval
        return _Seen(ONE, ONE, np.zeros(aval.shape, np.int32), blind)

    return list(map(result, inner.outvars))
