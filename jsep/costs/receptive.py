"""The three-dimensional receptive field: how far the units at the end of a stage see, in space and over channels.

After Wang et al., arXiv 2009.05236, whose abstract names the metric and its use; its formula could not be read. What is
computed here is a reconstruction, and must be called one wherever it is shown.
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
from jsep.layers.rolling import rolling_windows
from jsep.ops.geometry import Pair, pair

Reach = Bool[np.ndarray, "outputs inputs"]
Sides = Int[np.ndarray, "2"]  # of height and width
ONE = np.ones(2, int)


@dataclass(frozen=True)
class StageField:
    """What a unit at the end of a stage sees of the map that enters it.

    side: of the map that enters. field: the longer side of the window, in its pixels. reach: the mean share of its
    channels.
    volume: field * field * channels seen. score: reach times the square of the share of the side that is seen, or 1.
    """

    name: str
    side: int
    field: int
    channels: int
    reach: float

    @property
    def volume(self) -> float:
        return self.field**2 * self.reach * self.channels

    @property
    def score(self) -> float:
        return min(1.0, self.field / self.side) ** 2 * self.reach


def network_score(stages: Sequence[StageField]) -> float:
    """The geometric mean of the stages' scores."""
    return math.prod(stage.score for stage in stages) ** (1 / len(stages))


def receptive_fields(model: nn.Module, input_shape: Sequence[int]) -> tuple[list[StageField], int]:
    """Each stage of a network, the first from the image on, and the longer side of the last one's field in the image.

    Attention counts for the channels that it connects, not for the space that it averages over. What shifts of data
    alone make a unit see is not counted.
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


_mark = core.Primitive("receptive_mark")  # stands for a layer: how it widens the field, which channels it connects
_mark.def_abstract_eval(lambda *_, shape, **__: ShapedArray(shape, jnp.float32))


@dataclass(frozen=True)
class _Widening:
    """A window of `span` input positions along each axis, one for each `stride`-th."""

    span: Pair = (1, 1)
    stride: Pair = (1, 1)


def _trace(model: nn.Module, input_shape: Sequence[int]) -> tuple[Any, list[str], list[Any]]:
    """The network's program with marks for layers, its stages, and where in the program they end."""
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    names: list[str] = []

    def mark(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        layer, x = context.module, args[0] if args else None
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(layer, layers.BatchNorm | layers.PReLU):
            return x
        known = _layer(layer, x.shape) if isinstance(x, jax.Array) else None
        if known is None:
            return call(*args, **kwargs)
        y = jax.eval_shape(lambda x: call(x, **kwargs), x)
        widening, connect = known
        return _mark.bind(x, shape=y.shape, widening=widening, connect=connect)

    def maps(x: jax.Array) -> list[jax.Array]:
        with nn.intercept_methods(mark):
            _, stages = model.apply(zeros, x, features=True)
        names[:] = stages
        return [stage.maps for stage in stages.values()]

    jaxpr = jax.make_jaxpr(maps)(x)
    return jaxpr, names, list(jaxpr.jaxpr.outvars)


def _layer(layer: nn.Module, shape: Sequence[int]) -> tuple[_Widening, Callable[[int, int], Reach]] | None:
    """What is known of a layer's kind: its window, and which inputs each output is connected with."""
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
    """Which inputs the outputs of a rolling pointwise convolution read."""
    windows = rolling_windows(inputs, groups, overlap) if groups > 1 else np.arange(inputs)[None]
    of_window = np.zeros((len(windows), inputs), bool)
    of_window[np.arange(len(windows))[:, None], windows] = True
    each = np.arange(outputs)
    return of_window[each * len(windows) // outputs if order == "block" else each % len(windows)]


@dataclass(frozen=True)
class _Seen:
    """Of an array: what its numbers see of the start.

    field and jump: sides of the window, and distance of neighbouring windows, in pixels of the start. ids: for each
    place of the array, a row of `rows`. rows: which of the start's channels such a number sees.
    """

    field: Sides
    jump: Sides
    ids: np.ndarray
    rows: Reach

    def by_channel(self) -> Reach:
        """The rows of the last axis, at the first place of all others."""
        return self.rows[self.ids.reshape(-1, self.ids.shape[-1])[0]]


def _fresh(shape: Sequence[int], field: Sides, jump: Sides, rows: Reach) -> _Seen:
    return _Seen(field, jump, np.broadcast_to(np.arange(shape[-1]), shape), rows)


def _follow(jaxpr: Any, start: Any, end: Any) -> _Seen:
    """What the array `end` sees of `start`; what does not come from `start` sees nothing."""
    known: dict[Any, _Seen] = {start: _fresh(start.aval.shape, ONE, ONE, np.eye(start.aval.shape[-1], dtype=bool))}
    _advance(jaxpr.eqns, known)
    return known[end]


def _advance(equations: Sequence[Any], known: dict[Any, _Seen]) -> None:
    """Add to `known` all that comes from it; what is known already stays."""
    for equation in equations:
        ins = [known.get(v) if isinstance(v, core.Var) else None for v in equation.invars]
        if any(ins) and not known.keys() & set(equation.outvars):
            known.update(zip(equation.outvars, _through(equation, ins), strict=True))


def _through(equation: Any, ins: list[_Seen | None]) -> list[_Seen]:
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
    # elementwise, or a sum over places: every channel sees what it saw in any operand
    parts = []
    for seen in present:
        rows = seen.by_channel()
        parts.append(rows if len(rows) == shapes[0][-1] else np.broadcast_to(rows.any(0), (shapes[0][-1], width)))
    return [_fresh(shape, field, jump, reduce(np.logical_or, parts)) for shape in shapes]


_MOVES = {"reshape", "transpose", "slice", "concatenate", "split", "squeeze", "rev", "broadcast_in_dim", "pad"}


def _moved(equation: Any, ins: list[_Seen | None], field: Sides, jump: Sides, width: int) -> list[_Seen]:
    """Data that only moves: let the numbers of its rows move the same way."""
    rows, operands = [np.zeros((1, width), bool)], []  # row 0 sees nothing: what comes from elsewhere
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
    """A function called in the program, such as a compiled one."""
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
