"""The DiCE unit against its definition in NumPy, also on inputs smaller and larger than those it was built for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import layers

BUILT = (6, 5)
CHANNELS = 4


def _resized(x, axis, size):
    length = x.shape[axis]
    x = np.moveaxis(x, axis, 0)
    if size >= length:
        at, lines = np.arange(size) * (length - 1) / (size - 1), x.reshape(length, -1).T
        found = np.stack([np.interp(at, range(length), line) for line in lines], -1).reshape(size, *x.shape[1:])
    else:
        found = np.stack([x[i * length // size : -(-(i + 1) * length // size)].mean(0) for i in range(size)])
    return np.moveaxis(found, 0, axis)


def _depthwise(x, kernel):
    """Depthwise convolution of (n, h, w, c) with (3, 3, 1, c) and zero padding of 1."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return np.sum([padded[:, i : i + height, j : j + width] * kernel[i, j, 0] for i in range(3) for j in range(3)], 0)


def _definition(variables, x, features):
    params, stats = (jax.tree.map(np.asarray, variables[part]) for part in ("params", "batch_stats"))
    n, height, width, channels = x.shape

    def activated(x, name):
        scale, bias = params[f"{name}_norm"]["scale"], params[f"{name}_norm"]["bias"]
        mean, var = stats[f"{name}_norm"]["mean"], stats[f"{name}_norm"]["var"]
        x = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
        return np.where(x >= 0, x, params[f"{name}_act"]["slope"] * x)

    rows = _resized(x, 1, BUILT[0]).transpose(0, 3, 2, 1)  # (n, c, w, h): the plane is channels x columns
    rows = _resized(_depthwise(rows, params["height"]["kernel"]).transpose(0, 3, 2, 1), 1, height)
    columns = _resized(x, 2, BUILT[1]).transpose(0, 1, 3, 2)  # (n, h, c, w): rows x channels
    columns = _resized(_depthwise(columns, params["width"]["kernel"]).transpose(0, 1, 3, 2), 2, width)
    y = activated(np.concatenate([_depthwise(x, params["depth"]["kernel"]), rows, columns], -1), "branches")
    y = y.reshape(n, height, width, 3, channels).swapaxes(-1, -2)  # the shuffle: a channel's three maps side by side
    y = activated((y * params["fuse"]["weight"].reshape(3, channels).T).sum(-1), "fuse")
    hidden = np.maximum(y.mean((1, 2)) @ params["reduce"]["kernel"], 0)
    gate = 1 / (1 + np.exp(-hidden @ params["expand"]["kernel"]))
    kernel, groups = params["project"]["kernel"], np.gcd(channels, features)
    inputs, outputs = channels // groups, features // groups
    projected = np.concatenate(
        [
            sum(
                _depthwise(y[..., [g * inputs + i]], kernel[:, :, [i], o : o + 1])
                for i in range(inputs)
            )
            for g in range(groups)
            for o in range(g * outputs, (g + 1) * outputs)
        ],
        -1,
    )  # fmt: skip
    return activated(projected, "project") * gate[:, None, None]


@pytest.mark.parametrize("size", [BUILT, (4, 3), (9, 8), (3, 8)])
@pytest.mark.parametrize("features", [CHANNELS, 2 * CHANNELS, 6])
def test_dice_is_its_definition(drawn, size, features):
    layer = layers.DiCE(features)
    variables = drawn(layer, (1, *BUILT, CHANNELS), train=False)
    x = np.random.default_rng(1).normal(size=(2, *size, CHANNELS)).astype(np.float32)
    found = jax.jit(partial(layer.apply, train=False))(variables, x)
    np.testing.assert_allclose(found, _definition(variables, x, features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "size", "side", "params"), [(16, (28, 28), 0, 1208), (8, (7, 5), 0, 428), (16, (32, 20), 28, 1208)]
)
def test_parameters_of_a_unit(channels, size, side, params):
    """36 C + 9 (H + W) + 2 C (C // 4)"""
    shapes = jax.eval_shape(
        lambda: layers.DiCE(channels, side=side).init(jax.random.key(0), jnp.ones((1, *size, channels)), train=False)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == params


def test_a_stride_is_an_average_pool_before(drawn):
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 8, 8, CHANNELS)), jnp.float32)
    strided, plain = layers.DiCE(CHANNELS, 2), layers.DiCE(CHANNELS)
    variables = drawn(plain, (1, 4, 4, CHANNELS), train=False)
    expected = jax.jit(partial(plain.apply, train=False))(variables, layers.AvgPool(3, 2, padding=1)(x))
    np.testing.assert_allclose(
        jax.jit(partial(strided.apply, train=False))(variables, x), expected, rtol=1e-5, atol=1e-6
    )
