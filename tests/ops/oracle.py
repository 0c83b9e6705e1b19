"""The reference convolution that every lowering is compared with, and the comparison."""

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from jax import lax

FEW = settings(max_examples=int(os.environ.get("JSEP_EXAMPLES", "10")), deadline=None)  # each one compiles

# tolerance relative to the largest number of the result
ROUNDING = {"float64": 1e-12, "float32": 2e-6, "bfloat16": 2e-2}

GEOMETRY = {
    "size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    "kernel_size": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    "padding": st.sampled_from(["TORCH", "SAME", "VALID", 0, 2, ((0, 1), (3, 0)), ((-1, 2), (0, -1))]),
}


def reference(x, kernel, strides, padding, dilation):
    spatial = kernel.ndim - 2
    size = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:spatial], dilation, strict=True)]
    match padding:
        case "TORCH":
            padding = [(d * (k // 2),) * 2 for k, d in zip(kernel.shape[:spatial], dilation, strict=True)]
        case "SAME":
            padding = lax.padtype_to_pads(x.shape[1:-1], size, strides, "SAME")
        case "VALID":
            padding = [(0, 0)] * spatial
        case int():
            padding = [(padding, padding)] * spatial
        case _:  # crop first: lax on a CPU reads out of bounds if a stride meets paddings of both signs
            cut = [(min(low, 0), min(high, 0), 0) for low, high in padding]
            x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *cut, (0, 0, 0)])
            padding = [(max(low, 0), max(high, 0)) for low, high in padding]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC") if spatial == 2 else ("NHC", "HIO", "NHC"),
        feature_group_count=x.shape[-1] // kernel.shape[-2],
    )


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def assert_equal(ours: Callable, theirs: Callable, x: jax.Array, kernel: jax.Array, dtype: str) -> None:
    """Check that the value and both gradients of `ours` in `dtype` equal those of `theirs` in float64."""
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    wide = (x.astype("float64"), kernel.astype("float64"))
    g = normal(2, *jax.eval_shape(theirs, *wide).shape).astype(dtype)

    @jax.jit
    def both():
        expected, transpose = jax.vjp(theirs, *wide)
        found, our_transpose = jax.vjp(ours, x, kernel)
        return (found, *our_transpose(g)), (expected, *transpose(g.astype("float64")))

    for found, expected in zip(*both(), strict=True):
        assert found.dtype == dtype
        limit = ROUNDING[dtype] * max(1.0, float(jnp.max(jnp.abs(expected), initial=0)))
        np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=limit, rtol=0)


def assert_same(ours: Callable, theirs: Callable, x: jax.Array, rtol: float = 0.0) -> None:
    """Check that two functions of one array have the same value and gradient, up to `rtol` of the largest number."""

    @jax.jit
    def both():
        expected, transpose = jax.vjp(theirs, x)
        found, our_transpose = jax.vjp(ours, x)
        g = normal(2, *expected.shape).astype(expected.dtype)
        return (found, *our_transpose(g)), (expected, *transpose(g))

    for found, expected in zip(*both(), strict=True):
        assert found.dtype == expected.dtype
        found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        np.testing.assert_allclose(found, expected, atol=rtol * np.max(np.abs(expected), initial=1), rtol=0)
