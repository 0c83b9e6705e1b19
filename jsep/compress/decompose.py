"""A trained network's dense convolutions turned into cheaper ones, layer by layer, from some images."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array, lax

from jsep.compress import solve
from jsep.compress.moments import Accumulator, Moments
from jsep.compress.plan import Method, Site
from jsep.costs import Table, count
from jsep.errors import UserError
from jsep.layers import BatchNorm, Conv
from jsep.models.factored import Factor, Factored
from jsep.ops.geometry import explicit_padding

Variables = dict[str, Any]
BLIND = ("svd", "data", "channel_svd")  # methods that do not look at the response that is wanted
RELU_SAMPLES = 20_000  # windows that a refit behind the ReLU looks at


@dataclasses.dataclass(frozen=True)
class Options:
    """How a layer is fitted.

    sweeps: of `comp`. symmetric: a layer sees what the untouched network would give it, not what the layers before it
    now do. relu: the last part is refitted to the response behind a ReLU (separable kinds),
    whether or not the network has one there. points: windows an image.
    """

    method: Method = "comp"
    sweeps: int = 3
    symmetric: bool = False
    relu: bool = False
    points: int = 10
    seed: int = 0


class Fit(NamedTuple):
    """parts: the new variables below a site's path, by name. kernel: the dense one (c, k, m) that they amount to."""

    parts: dict[str, np.ndarray]
    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class LayerResult:
    """One replaced convolution: a row of layers.csv.

    error: of the linear response, root mean square over that of the centred response, on the images of the fit.
    error_inherited: the same for the untouched layer, behind the decomposed ones before it. MACs of one image.
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
    """The network with `plan` carried out, its variables, and a row for each layer.

    Args:
        model: the trained network, with `variables`.
        sites: its convolutions, from `find_sites`.
        plan: what to replace, in the order of evaluation.
        batches: gives the images anew whenever it is called: normalised (n, h, w, c), each batch of one shape.
        options: see `Options`.
        on_layer: told of each layer when it is done.

    Raises:
        UserError: a refit behind the ReLU is asked for where it does not exist.
    """
    other = next((factor for factor in plan if factor.kind != "separable"), None)
    if options.relu and other:
        raise UserError(f"--relu refits separable convolutions, and {other} is none: leave --relu out")
    by_path = {site.path: site for site in sites}
    # a layer without a batch norm gets a bias, which both networks carry from the start
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
    flat: dict[str, Any] = flatten_dict(variables, sep="/")
    for factor in biased:
        flat.setdefault(f"params/{factor.path}/bias", jnp.zeros(sites[factor.path].features))
    return unflatten_dict(flat, sep="/")


def _leaf(variables: Variables, part: str, path: str, name: str) -> np.ndarray:
    return np.asarray(flatten_dict(variables[part], sep="/")[f"{path}/{name}"], np.float64)


def _folded(variables: Variables, site: Site) -> tuple[np.ndarray, np.ndarray]:
    """The kernel (c, k, m) and the bias of the convolution with its batch norm folded in."""
    kernel = _leaf(variables, "params", site.path, "kernel")
    kernel = kernel.reshape(site.taps, site.channels, site.features).swapaxes(0, 1)
    bias = np.zeros(site.features)
    if site.bias or not site.norm:
        bias = _leaf(variables, "params", site.path, "bias")
    if not site.norm:
        return kernel, bias
    scale, shift = (_leaf(variables, "params", site.norm, name) for name in ("scale", "bias"))
    mean, var = (_leaf(variables, "batch_stats", site.norm, name) for name in ("mean", "var"))
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
    """For each batch, windows (n * points, c * k) of what the layer is given: in the original, and in the current."""
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
    """Windows of the input of a convolution around output positions (n, points, 2) -> (n * points, c * k)."""
    found: list[Array] = []

    def keep(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        layer = context.module
        if isinstance(layer, Conv) and context.method_name == "__call__" and "/".join(layer.path) == site.path:
            found.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(keep):
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
    """Moments of what the new layer sees and the response that is wanted; some samples where they are asked for."""
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
    """By the kind of `factor` and the method of `options`."""
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
                # an identity for now, with the statistics that the depthwise part has
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
    """For each response, what gives it back the variance that is wanted.

    A fit that does not see what arrives loses some of it in every layer, until nothing is left behind a dozen.
    """
    _, variance = moments.response(dense)
    alive = variance > 1e-8 * moments.variance
    return np.where(alive, np.sqrt(moments.variance / np.where(alive, variance, 1)), 1.0)


def _behind_relu(
    found: solve.Separable, samples: tuple[np.ndarray, np.ndarray], moments: Moments
) -> tuple[solve.Separable, np.ndarray]:
    x, y = (jnp.asarray(a, jnp.float64) for a in samples)
    features = jnp.einsum("nck,ck->nc", x.reshape(len(x), *found.d.shape), found.d)
    dense = found.kernel.reshape(-1, y.shape[-1])
    start = jnp.asarray(moments.y_mean) - jnp.asarray(moments.x_mean) @ dense
    p, bias = solve.relu_refit(features, y, found.p, start)
    return solve.Separable(found.d, p), np.asarray(bias)


def _with_layer(variables: Variables, site: Site, fit: Fit, moments: Moments) -> Variables:
    """The dense network with the layer's new kernel, and a batch norm that adds the bias and no more."""
    flat: dict[str, Any] = flatten_dict(variables, sep="/")
    hwio = fit.kernel.swapaxes(0, 1).reshape(*site.kernel_size, site.channels, site.features)

    def put(path: str, value: np.ndarray) -> None:
        flat[path] = jnp.asarray(value, jnp.float32)

    put(f"params/{site.path}/kernel", hwio)
    if not site.norm:
        put(f"params/{site.path}/bias", fit.bias)
        return unflatten_dict(flat, sep="/")
    if site.bias:
        put(f"params/{site.path}/bias", np.zeros(site.features))
    mean, variance = moments.response(fit.kernel)
    put(f"batch_stats/{site.norm}/mean", mean)
    put(f"batch_stats/{site.norm}/var", variance)
    put(f"params/{site.norm}/scale", np.sqrt(variance + site.epsilon))
    put(f"params/{site.norm}/bias", mean + fit.bias)
    return unflatten_dict(flat, sep="/")


def _row(
    factor: Factor, kernel: np.ndarray, dense: np.ndarray, moments: Moments, tables: Sequence[Table]
) -> LayerResult:
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
        note=f"few windows for {size} numbers a response" if 10 * size > moments.samples else "",
    )


def _costs(table: Table, path: str) -> tuple[int, int]:
    """Parameters and MACs of a layer and of all below it."""
    rows = [row for row in table.rows if row.path == path or row.path.startswith(f"{path}/")]
    return sum(row.params for row in rows), sum(row.cost.macs for row in rows if row.cost)


def _finished(variables: Variables, fits: dict[str, Fit]) -> Variables:
    """The dense kernels replaced by their parts."""
    flat: dict[str, Any] = flatten_dict(variables, sep="/")
    for path, fit in fits.items():
        flat.pop(f"params/{path}/kernel")
        flat.pop(f"params/{path}/bias", None)
        for name, value in fit.parts.items():
            part = "batch_stats" if name.endswith(("/mean", "/var")) else "params"
            flat[f"{part}/{path}/{name}"] = jnp.asarray(value, jnp.float32)
    return unflatten_dict(flat, sep="/")
