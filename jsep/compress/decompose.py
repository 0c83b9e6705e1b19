"""Replacing the dense convolutions of a trained network by cheaper ones, layer by layer, fitted to some images."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from jsep.compress import solve
from jsep.compress.moments import Accumulator, Moments
from jsep.compress.plan import METHODS, Method, Site
from jsep.costs import CostTable, count
from jsep.errors import UserError, require
from jsep.layers import BatchNorm, Conv
from jsep.layers.watch import Answer, path_of, watch
from jsep.models.factored import Factor, Factored
from jsep.ops.geometry import explicit_padding
from jsep.trees import flatten, unflatten

Variables = dict[str, Any]
BLIND = ("svd", "data", "channel_svd")  # methods that are not fitted to the wanted response
RELU_SAMPLES = 20_000  # about how many windows a refit behind the ReLU uses


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the fit of each layer.

    Attributes:
        method: how a layer is fitted, see `jsep.compress.solve`.
        sweeps: passes of the method comp over the input channels.
        symmetric: fit a layer to the inputs that it has in the original network, not to those that the decomposed
            layers before it now deliver.
        relu: refit the pointwise part to the response behind a ReLU, whether or not the network has one there.
        points: windows of each image that a layer is fitted to.
        seed: seed of the choice of windows.
    """

    method: Method = "comp"
    sweeps: int = 3
    symmetric: bool = False
    relu: bool = False
    points: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.method in METHODS, "method", self.method, f"one of {', '.join(METHODS)}")
        for name, least in (("sweeps", 1), ("points", 1), ("seed", 0)):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= least, name, value, f"at least {least}, and whole")


class Fit(NamedTuple):
    """A fitted replacement.

    Attributes:
        parts: its variables, by their paths below that of the convolution.
        kernel: the dense kernel that the parts amount to.
        bias: the bias that belongs to it.
    """

    parts: dict[str, np.ndarray]
    kernel: Float[np.ndarray, "c k m"]
    bias: Float[np.ndarray, " m"]


@dataclasses.dataclass(frozen=True)
class LayerResult:
    """One replaced convolution: a row of layers.csv.

    Attributes:
        path: where the convolution lies in the network.
        kind: kind of the replacement, see `jsep.models.factored.Factor`.
        rank: features between its two convolutions; 0 for the separable kind.
        error: root mean square error of the linear response, relative to the root mean square of the centred response,
            on the images of the fit.
        error_inherited: the same error for the original convolution behind the layers that were decomposed before it.
        samples: windows that it was fitted to.
        params_before: parameters of the convolution.
        params_after: parameters of the replacement.
        macs_before: multiply-accumulates of the convolution for one image.
        macs_after: multiply-accumulates of the replacement for one image.
        note: a warning about the fit, empty where there is none.
    """

    path: str
    kind: str
    rank: int
    error: float
    error_inherited: float
    samples: int
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    note: str = ""


def decompose(
    model: nn.Module,
    variables: Variables,
    sites: Sequence[Site],
    plan: Sequence[Factor],
    batches: Callable[[], Iterator[Array]],
    options: Options,
    on_layer: Callable[[LayerResult], None] = lambda row: None,
) -> tuple[Factored, Variables, list[LayerResult]]:
    """Replace convolutions of a trained network, fitting one layer after another.

    Args:
        model: the network.
        variables: its trained parameters and statistics.
        sites: its convolutions, from `find_sites`.
        plan: the replacements, in the order of evaluation.
        batches: a function that starts a new pass over the images: normalised batches (n, h, w, c) of one shape.
        options: how each layer is fitted.
        on_layer: called with the result of each layer as soon as it is fitted.

    Returns:
        The network with the replacements, its variables, and one result for each replaced layer.

    Raises:
        UserError: `options` ask for a refit behind the ReLU, and the plan holds other kinds than separable.
    """
    other = next((factor for factor in plan if factor.kind != "separable"), None)
    if options.relu and other:
        raise UserError(f"`relu` refits separable convolutions only, and {other} is another kind: leave `relu` out")
    by_path = {site.path: site for site in sites}
    # a layer without a batch norm gets a bias, which the dense network carries from the start
    biased = [Factor(factor.path, "dense", bias=True) for factor in plan if not by_path[factor.path].norm]
    dense = Factored(model, tuple(biased))
    original = _with_biases(variables, biased, by_path)
    current = original
    network = Factored(model, tuple(plan))
    tables = [count(net, next(batches()).shape[1:]) for net in (model, network)]
    rows, fits = [], {}
    for number, factor in enumerate(plan):
        site = by_path[factor.path]
        kernel, bias = _folded(original, site)
        seen = original if options.symmetric else current
        windows = _windows(dense, site, original, seen, batches, options, number)
        moments, z = _measure(windows, kernel, bias, options.relu)
        fit = fits[factor.path] = _fit(factor, site, kernel, moments, z, options)
        current = _with_layer(current, site, fit, moments)
        rows.append(_row(factor, kernel, fit.kernel, moments, tables))
        on_layer(rows[-1])
    return network, _finished(current, fits), rows


def _with_biases(variables: Variables, biased: Sequence[Factor], sites: dict[str, Site]) -> Variables:
    """Return the variables with a bias of zero for each layer in `biased` that has none."""
    leaves = flatten(variables)
    for factor in biased:
        leaves.setdefault(f"params/{factor.path}/bias", jnp.zeros(sites[factor.path].features))
    return unflatten(leaves)


def _folded(variables: Variables, site: Site) -> tuple[Float[np.ndarray, "c k m"], Float[np.ndarray, " m"]]:
    """Return the kernel and the bias of a convolution with its batch norm folded in, in float64."""
    leaves = flatten(variables)

    def leaf(path: str) -> np.ndarray:
        return np.asarray(leaves[path], np.float64)

    kernel = leaf(f"params/{site.path}/kernel")
    kernel = kernel.reshape(site.taps, site.channels, site.features).swapaxes(0, 1)
    bias = np.zeros(site.features)
    if site.bias or not site.norm:
        bias = leaf(f"params/{site.path}/bias")
    if not site.norm:
        return kernel, bias
    scale, shift = (leaf(f"params/{site.norm}/{name}") for name in ("scale", "bias"))
    mean, var = (leaf(f"batch_stats/{site.norm}/{name}") for name in ("mean", "var"))
    scale = scale / np.sqrt(var + site.epsilon)
    return kernel * scale, (bias - mean) * scale + shift


def _windows(
    model: nn.Module,
    site: Site,
    original: Variables,
    current: Variables,
    batches: Callable[[], Iterator[Array]],
    options: Options,
    number: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the windows (n * points, c * k) of each batch: as the original, and as the current variables give them."""
    height, width = site.output_size
    points = min(options.points, height * width)
    sample = jax.jit(partial(_sample, model, site))
    for i, x in enumerate(batches()):
        rng = np.random.default_rng([options.seed, number, i])
        at = np.stack([rng.choice(height * width, points, replace=False) for _ in range(len(x))])
        at = np.stack([at // width, at % width], -1).astype(np.int32)
        before = sample(original, x, at)
        yield np.asarray(before), np.asarray(before if current is original else sample(current, x, at))


def _sample(model: nn.Module, site: Site, variables: Variables, x: Array, at: Array) -> Array:
    """Return the input windows of a convolution at output positions `at`: (n, points, 2) -> (n * points, c * k)."""
    found: list[Array] = []

    def keep(layer: nn.Module, call: Answer, *args: Any, **kwargs: Any) -> Any:
        if path_of(layer) == site.path:
            found.append(args[0])
        return call(*args, **kwargs)

    with watch(keep, Conv):
        model.apply(variables, x)
    pads = explicit_padding(site.padding, site.input_size, site.kernel_size, site.strides)
    padded = jnp.pad(found[0], ((0, 0), *pads, (0, 0)))
    size = (*site.kernel_size, site.channels)

    def window(image: Array, place: Array) -> Array:
        top, left = place * jnp.asarray(site.strides)
        return lax.dynamic_slice(image, (top, left, jnp.zeros_like(top)), size)

    windows = jax.vmap(jax.vmap(window, (None, 0)))(padded, at)  # -> (n, points, kh, kw, c)
    return jnp.moveaxis(windows, -1, 2).reshape(-1, site.channels * site.taps)


def _measure(
    windows: Iterator[tuple[np.ndarray, np.ndarray]], kernel: np.ndarray, bias: np.ndarray, keep: bool
) -> tuple[Moments, tuple[np.ndarray, np.ndarray] | None]:
    """Return the moments of the current windows and the wanted responses, and some samples of both where `keep` is."""
    flat, accumulator, kept, count = kernel.reshape(-1, kernel.shape[-1]), Accumulator(), [], 0
    for before, now in windows:
        wanted = before @ flat + bias
        accumulator.add(now, wanted)
        if keep and count < RELU_SAMPLES:
            kept.append((now, wanted))
            count += len(now)
    samples = None
    if keep:
        samples = (np.concatenate([x for x, _ in kept]), np.concatenate([y for _, y in kept]))
    return accumulator.moments(), samples


def _fit(
    factor: Factor,
    site: Site,
    kernel: np.ndarray,
    moments: Moments,
    samples: tuple[np.ndarray, np.ndarray] | None,
    options: Options,
) -> Fit:
    """Fit a replacement of the factor's kind by the method in `options`."""
    with jax.enable_x64(True):
        w, gram, cross = (jnp.asarray(a, jnp.float64) for a in (kernel, moments.gram, moments.cross))
        kh, kw = site.kernel_size
        shift = None
        if factor.kind == "separable":
            match options.method:
                case "svd":
                    found = solve.svd(w)
                case "data":
                    found = solve.data(w, gram)
                case "als":
                    found = solve.als(w, gram, cross)
                case _:
                    found = solve.comp(w, gram, cross, options.sweeps)
            if samples is not None:
                found, shift = _behind_relu(found, samples, moments)
            dense = np.asarray(found.kernel)
            d, p = np.asarray(found.d), np.asarray(found.p)
            filtered = np.einsum("ck,ck->c", d, moments.x_mean.reshape(d.shape))
            own = np.einsum("ckcl->ckl", moments.gram.reshape(*d.shape, *d.shape))
            variance = np.maximum(np.einsum("ck,ckl,cl->c", d, own, d), 0)
            parts = {
                "depthwise/kernel": d.T.reshape(kh, kw, 1, -1),
                "pointwise/kernel": p[None, None],
                # with the statistics of the depthwise part this batch norm is the identity, until training goes on
                "norm/scale": np.sqrt(variance + BatchNorm.epsilon),
                "norm/bias": filtered,
                "norm/mean": filtered,
                "norm/var": variance,
            }
            last = "pointwise"
        elif factor.kind == "channel":
            weights_only = options.method == "channel_svd"
            first, second = (
                solve.channel_svd(w, factor.rank)
                if weights_only
                else solve.channel(gram, cross, site.channels, factor.rank)
            )
            dense = np.asarray(first @ second)
            reduce = np.moveaxis(np.asarray(first), 0, 1).reshape(kh, kw, site.channels, -1)
            parts, last = {"reduce/kernel": reduce, "expand/kernel": np.asarray(second)[None, None]}, "expand"
        else:
            columns, rows = solve.spatial(w.reshape(-1, kh, kw, site.features), gram, cross, factor.rank)
            dense = np.asarray(jnp.einsum("chr,rwm->chwm", columns, rows)).reshape(kernel.shape)
            parts = {
                "rows/kernel": np.asarray(columns).transpose(1, 0, 2)[:, None],  # (c, kh, r) -> (kh, 1, c, r)
                "columns/kernel": np.asarray(rows).swapaxes(0, 1)[None],  # (r, kw, m) -> (1, kw, r, m)
            }
            last = "columns"
    if shift is None and (options.symmetric or options.method in BLIND):
        gain = _gain(dense, moments)
        dense, parts[f"{last}/kernel"] = dense * gain, parts[f"{last}/kernel"] * gain
    if shift is None:
        shift = moments.y_mean - moments.response(dense)[0]
    if factor.bias:
        parts[f"{last}/bias"] = shift
    return Fit(parts, dense, shift)


def _gain(dense: np.ndarray, moments: Moments) -> np.ndarray:
    """Return the factors that restore the wanted variance of each response.

    A fit that ignores the errors of earlier layers loses some variance in every layer; a dozen layers later nothing is
    left.
    """
    _, variance = moments.response(dense)
    alive = variance > 1e-8 * moments.variance
    return np.where(alive, np.sqrt(moments.variance / np.where(alive, variance, 1)), 1.0)


def _behind_relu(
    found: solve.Separable, samples: tuple[np.ndarray, np.ndarray], moments: Moments
) -> tuple[solve.Separable, np.ndarray]:
    """Refit the pointwise part and the bias behind a ReLU."""
    x, y = (jnp.asarray(a, jnp.float64) for a in samples)
    features = jnp.einsum("nck,ck->nc", x.reshape(len(x), *found.d.shape), found.d)
    dense = found.kernel.reshape(-1, y.shape[-1])
    start = jnp.asarray(moments.y_mean) - jnp.asarray(moments.x_mean) @ dense
    p, bias = solve.relu_refit(features, y, found.p, start)
    return solve.Separable(found.d, p), np.asarray(bias)


def _with_layer(variables: Variables, site: Site, fit: Fit, moments: Moments) -> Variables:
    """Return the dense network's variables with the new kernel, and a batch norm that only adds the bias."""
    leaves = flatten(variables)
    hwio = fit.kernel.swapaxes(0, 1).reshape(*site.kernel_size, site.channels, site.features)

    def put(path: str, value: np.ndarray) -> None:
        leaves[path] = jnp.asarray(value, jnp.float32)

    put(f"params/{site.path}/kernel", hwio)
    if not site.norm:
        put(f"params/{site.path}/bias", fit.bias)
        return unflatten(leaves)
    if site.bias:
        put(f"params/{site.path}/bias", np.zeros(site.features))
    mean, variance = moments.response(fit.kernel)
    put(f"batch_stats/{site.norm}/mean", mean)
    put(f"batch_stats/{site.norm}/var", variance)
    put(f"params/{site.norm}/scale", np.sqrt(variance + site.epsilon))
    put(f"params/{site.norm}/bias", mean + fit.bias)
    return unflatten(leaves)


def _row(
    factor: Factor, kernel: np.ndarray, dense: np.ndarray, moments: Moments, tables: Sequence[CostTable]
) -> LayerResult:
    """Return the result of a layer; `tables` are the costs of the network before and after."""
    size, outputs = kernel.shape[0] * kernel.shape[1], kernel.shape[2]
    with jax.enable_x64(True):
        kernels = (jnp.asarray(k.reshape(size, outputs)) for k in (dense, kernel))
        about = [jnp.asarray(a, jnp.float64) for a in (moments.gram, moments.cross, moments.total)]
        found, inherited = (float(solve.error(k, *about)) for k in kernels)
    (params_before, macs_before), (params_after, macs_after) = (_costs(table, factor.path) for table in tables)
    return LayerResult(
        path=factor.path,
        kind=factor.kind,
        rank=factor.rank,
        error=found,
        error_inherited=inherited,
        samples=moments.samples,
        params_before=params_before,
        params_after=params_after,
        macs_before=macs_before,
        macs_after=macs_after,
        note=f"few windows to fit {size} weights per response" if 10 * size > moments.samples else "",
    )


def _costs(table: CostTable, path: str) -> tuple[int, int]:
    """Return the parameters and the MACs of a layer, those of the layers inside it included."""
    rows = [row for row in table.rows if row.path == path or row.path.startswith(f"{path}/")]
    return sum(row.params for row in rows), sum(row.cost.macs for row in rows if row.cost)


def _finished(variables: Variables, fits: dict[str, Fit]) -> Variables:
    """Return the variables with the dense kernels replaced by the parts of their replacements."""
    leaves = flatten(variables)
    for path, fit in fits.items():
        leaves.pop(f"params/{path}/kernel")
        leaves.pop(f"params/{path}/bias", None)
        for name, value in fit.parts.items():
            part = "batch_stats" if name.endswith(("/mean", "/var")) else "params"
            leaves[f"{part}/{path}/{name}"] = jnp.asarray(value, jnp.float32)
    return unflatten(leaves)
