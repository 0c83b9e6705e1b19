"""Depth-wise decomposition and its alternatives on synthetic layers, at equal multiply-accumulates.

Source     arXiv 1910.09455 mentions synthetic data in its abstract; how it was made we could not read. Ours: kernels
           drawn by He's rule ("gauss") or with taps correlated over a distance of one ("smooth"); inputs are windows of
           the ReLU of 16x16 fields of 1/f noise, whose channels are mixed with a decaying spectrum, i ** -0.5.
Method     Single layers: fitted to 400 images of 10 windows, evaluated on 200 others, by the error of the response over
           its deviation. Networks of five layers (3x3, ReLU): layer after layer, symmetric (fitted to the untouched
           network) or asymmetric (to what the decomposed layers before it give), also evaluated on other images.
Command    python studies/decomposition_synthetic.py
Hardware   Any; eight minutes on two busy CPU cores.
Result     studies/results/decomposition_synthetic.csv. Single layers, by error on other images: als < three sweeps <
           comp < data < channel. Five layers: asymmetric beats symmetric from the second layer on for every method that
           sees data. With He's kernels `data` falls behind `channel` from the third layer on, and `comp` stays ahead.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from jsep.compress import solve
from jsep.compress.moments import Accumulator, Moments

RESULTS = Path(__file__).parent / "results" / "decomposition_synthetic.csv"
SEEDS, SIZE, TAPS, DEPTH = 4, 16, 9, 5
SINGLE = ("channel_svd", "channel", "spatial", "svd", "data", "comp", "comp x3", "als")
NETWORK = ("channel_svd", "channel", "svd", "data", "comp", "comp x3", "als")


def fields(rng: np.random.Generator, images: int, mixing: np.ndarray) -> np.ndarray:
    """Draw the ReLU of 1/f fields with mixed channels, of shape (images, SIZE, SIZE, c)."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE))
    frequency[0, 0] = np.inf
    noise = np.fft.fft2(rng.normal(size=(images, SIZE, SIZE, len(mixing))), axes=(1, 2))
    smooth = np.fft.ifft2(noise / frequency[..., None], axes=(1, 2)).real
    return np.maximum(smooth / smooth.std((0, 1, 2)) @ mixing, 0)


def mixing(rng: np.random.Generator, channels: int) -> np.ndarray:
    """Draw a mixing matrix: a random rotation, a decaying spectrum, another rotation."""
    turns = [np.linalg.qr(rng.normal(size=(channels, channels)))[0] for _ in range(2)]
    return turns[0] * np.arange(1, channels + 1) ** -0.5 @ turns[1]


def kernel(rng: np.random.Generator, channels: int, kind: str) -> np.ndarray:
    """Draw a kernel of shape (c, 9, c)."""
    drawn = rng.normal(size=(channels, TAPS, channels)) * (2 / (TAPS * channels)) ** 0.5
    if kind == "gauss":
        return drawn
    place = np.stack(np.divmod(np.arange(TAPS), 3), -1)
    distance = ((place[:, None] - place) ** 2).sum(-1)
    root = np.linalg.cholesky(np.exp(-distance / 2) + 1e-9 * np.eye(TAPS))
    return np.einsum("tu,cum->ctm", root, drawn)


def windows(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Cut 3x3 windows, with zero padding, around positions (images, points, 2): (images * points, c * 9)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = at[..., 0, None, None] + np.arange(3)[:, None]
    columns = at[..., 1, None, None] + np.arange(3)
    cut = padded[np.arange(len(x))[:, None, None, None], rows, columns]  # (images, points, 3, 3, c)
    return np.moveaxis(cut, -1, 2).reshape(-1, x.shape[-1] * TAPS)


def fit(method: str, w: np.ndarray, moments: Moments) -> np.ndarray:
    """Return the kernel (c, 9, m) by which a method replaces w."""
    channels, outputs = len(w), w.shape[-1]
    k, gram, cross = jnp.asarray(w), jnp.asarray(moments.gram), jnp.asarray(moments.cross)
    rank = solve.rank_at_equal_cost(method.removesuffix("_svd"), channels, TAPS, outputs, (3, 3))
    match method:
        case "channel_svd":
            first, second = solve.channel_svd(k, rank)
            return np.asarray(first @ second)
        case "channel":
            first, second = solve.channel(gram, cross, channels, rank)
            return np.asarray(first @ second)
        case "spatial":
            columns, rows = solve.spatial(k.reshape(channels, 3, 3, outputs), gram, cross, rank)
            return np.asarray(jnp.einsum("chr,rwm->chwm", columns, rows)).reshape(w.shape)
        case "svd":
            return np.asarray(solve.svd(k).kernel)
        case "data":
            return np.asarray(solve.data(k, gram).kernel)
        case "als":
            return np.asarray(solve.als(k, gram, cross).kernel)
    return np.asarray(solve.comp(k, gram, cross, 3 if method == "comp x3" else 1).kernel)


def error(w: np.ndarray, moments: Moments) -> float:
    about = [jnp.asarray(a) for a in (moments.gram, moments.cross, moments.total)]
    return float(solve.error(jnp.asarray(w.reshape(-1, w.shape[-1])), *about))


def single(seed: int, channels: int, kind: str) -> list[float]:
    """Return the error of every method on images that were not fitted."""
    rng = np.random.default_rng(seed)
    mix, w = mixing(rng, channels), kernel(rng, channels, kind)

    def moments(images: int) -> Moments:
        accumulator = Accumulator()
        for _ in range(images // 100):
            x = windows(fields(rng, 100, mix), rng.integers(0, SIZE, (100, 10, 2)))
            accumulator.add(x, x @ w.reshape(-1, channels))
        return accumulator.moments()

    fitted, held_out = moments(400), moments(200)
    return [error(fit(method, w, fitted), held_out) for method in SINGLE]


def network(seed: int, channels: int, kind: str, method: str, symmetric: bool) -> list[float]:
    """Return the error of each layer of a network on images that were not fitted."""
    rng = np.random.default_rng(seed)
    mix = mixing(rng, channels)
    dense = [kernel(rng, channels, kind) for _ in range(DEPTH)]
    parts = [fields(rng, images, mix) for images in (400, 200)]  # to fit to, to measure on
    true, now, found = list(parts), list(parts), []

    def convolve(x: np.ndarray, w: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
        every = np.stack(np.divmod(np.arange(SIZE**2), SIZE), -1)
        cut = windows(x, np.broadcast_to(every, (len(x), *every.shape)))
        return np.maximum(cut @ w.reshape(-1, channels) + bias, 0).reshape(x.shape)

    for w in dense:
        at = [rng.integers(0, SIZE, (len(x), 10, 2)) for x in true]
        wanted = [windows(x, a) @ w.reshape(-1, channels) for x, a in zip(true, at, strict=True)]
        seen = [windows(x, a) for x, a in zip(now, at, strict=True)]
        fitted, held_out = Accumulator(), Accumulator()
        fitted.add(windows(true[0], at[0]) if symmetric else seen[0], wanted[0])
        held_out.add(seen[1], wanted[1])
        about = fitted.moments()
        new = fit(method, w, about)
        bias = about.y_mean - about.x_mean @ new.reshape(-1, channels)
        measured = held_out.moments()
        off = measured.y_mean - measured.x_mean @ new.reshape(-1, channels) - bias  # the bias is that of the fit
        found.append(float(np.sqrt(error(new, measured) ** 2 + (off**2).sum() / measured.total)))
        true, now = [convolve(x, w, 0.0) for x in true], [convolve(x, new, bias) for x in now]
    return found


def mean(measure: Callable[[int], list[float]], seeds: int) -> list[float]:
    return np.mean([measure(seed) for seed in range(seeds)], 0).tolist()


def main() -> None:
    """Print both tables and write the csv."""
    console, rows = Console(width=120, highlight=False), []
    table = Table(box=None, pad_edge=False, title=f"Single layers, {SEEDS} seeds", title_justify="left")
    for heading in ("weights", "c = m", *SINGLE):
        table.add_column(heading, justify="right")
    for kind in ("gauss", "smooth"):
        for channels in (32, 64):
            errors = mean(lambda seed, c=channels, k=kind: single(seed, c, k), SEEDS)
            table.add_row(kind, str(channels), *(f"{e:.4f}" for e in errors))
            rows += [["single", kind, channels, m, "", 1, f"{e:.4f}"] for m, e in zip(SINGLE, errors, strict=True)]
    console.print(table)
    table = Table(box=None, pad_edge=False, title="Five layers, c = m = 32, 2 seeds", title_justify="left")
    for heading in ("weights", "method", *(f"layer {i + 1}" for i in range(DEPTH))):
        table.add_column(heading, justify="right")
    for kind in ("gauss", "smooth"):
        for symmetric in (True, False):
            for method in NETWORK:
                if method.endswith("svd") and not symmetric:
                    continue  # blind to data
                errors = mean(lambda seed, k=kind, m=method, s=symmetric: network(seed, 32, k, m, s), 2)
                fitted = "" if method.endswith("svd") else "symmetric" if symmetric else "asymmetric"
                table.add_row(kind, f"{method} {fitted}", *(f"{e:.3f}" for e in errors))
                rows += [["network", kind, 32, method, fitted, i, f"{e:.4f}"] for i, e in enumerate(errors, start=1)]
    console.print(table)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "weights", "channels", "method", "fitted", "layer", "error"])
        writer.writerows(rows)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
