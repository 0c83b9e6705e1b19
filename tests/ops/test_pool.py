"""Pooling against `lax.reduce_window`, values and gradients, ties and NaN included."""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from oracle import FEW, assert_same, normal

from jsep import ops
from jsep.ops.pool import _mean, _sums, _sums_by_kernel


def reference(x, window, strides, pads):
    return lax.reduce_window(x, -np.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0)))


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [(2, None, 0), ((2, 3), None, 0), (3, 3, 0), (3, 2, 1), (2, 1, 0), (2, None, 1)],
)
def test_max_pool_and_its_gradient(window, strides, padding):
    # few distinct values: many ties, and the gradient belongs to the first of them
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 7, 7, 2)), jnp.float32)
    size = (window, window) if isinstance(window, int) else window
    steps = size if strides is None else (strides, strides)
    pads = ((padding, padding),) * 2
    expected, transpose = jax.vjp(lambda x: reference(x, size, steps, pads), x)
    found, our_transpose = jax.vjp(lambda x: ops.max_pool(x, window, strides=strides, padding=padding), x)
    np.testing.assert_array_equal(found, expected)
    g = jnp.asarray(np.random.default_rng(1).normal(size=expected.shape), jnp.float32)
    np.testing.assert_array_equal(our_transpose(g)[0], transpose(g)[0])


@pytest.mark.parametrize("place", [(0, 0), (1, 1)])
def test_max_pool_keeps_nan(place):
    x = jnp.zeros((1, 2, 2, 1)).at[0, *place, 0].set(jnp.nan)
    assert jnp.isnan(ops.max_pool(x, 2)).all()


def test_avg_pool_counts_padding_as_torch_or_not_as_tf():
    x = jnp.ones((1, 4, 4, 1))
    torch = ops.avg_pool(x, 3, strides=1, padding=1)
    tf = ops.avg_pool(x, 3, strides=1, padding=1, count_padding=False)
    np.testing.assert_allclose(torch[0, 0, 0, 0], 4 / 9, rtol=1e-6)
    np.testing.assert_allclose(tf, jnp.ones_like(x), rtol=1e-6)


@pytest.mark.parametrize("padding", ["SAME", 1, ((0, 1), (1, 0)), ((-1, 1), (0, -1))])
@pytest.mark.parametrize("count_padding", [True, False])
def test_avg_pool_by_its_definition(count_padding, padding):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 8, 3)), jnp.float32)
    pads = ((0, 0), *ops.explicit_padding(padding, (7, 8), (3, 2), (2, 2)), (0, 0))

    def sums(x):
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 2, 1), pads)

    expected = sums(x) / (6 if count_padding else sums(jnp.ones_like(x)))
    for context in (contextlib.nullcontext(), ops.portable_operations()):
        with context:
            y = ops.avg_pool(x, (3, 2), strides=2, padding=padding, count_padding=count_padding)
        np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("count_padding", [True, False])
def test_avg_pool_adds_up_in_float32(count_padding):
    """In bfloat16 a sum of ones stops at 256."""
    y = ops.avg_pool(jnp.ones((1, 17, 17, 1), jnp.bfloat16), 17, count_padding=count_padding)
    assert (y.dtype, y.item()) == (jnp.bfloat16, 1.0)


@FEW
@given(
    images=st.integers(1, 3),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    channels=st.integers(1, 5),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    ends=st.sampled_from([(0, 0), (1, 1), (0, 1), (-1, 1)]),
    count_padding=st.booleans(),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_means_by_a_kernel_are_those_of_windows(images, size, channels, window, strides, ends, count_padding, dtype):
    x, none = normal(0, images, *size, channels).astype(dtype), (0, 0)
    options = {"window": window, "strides": strides, "pads": (none, ends, ends, none), "count_padding": count_padding}
    ours, theirs = (partial(_mean, sums=sums, **options) for sums in (_sums_by_kernel, _sums))
    assert_same(ours, theirs, x, rtol=1e-6 if dtype == "float32" else 8e-3)


def test_global_avg_pool():
    x = jnp.arange(16.0).reshape(1, 2, 4, 2)
    np.testing.assert_allclose(ops.global_avg_pool(x), [[7.0, 8.0]])
