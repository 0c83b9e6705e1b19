"""Every lowering against `lax.conv_general_dilated` in float64, forward and both gradients."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jsep import ops

FEW = settings(max_examples=int(os.environ.get("JSEP_EXAMPLES", "10")), deadline=None)  # each one compiles


def reference(x, kernel, strides, padding, dilation):
    size = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    if padding == "TORCH":
        padding = [(d * (k // 2),) * 2 for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    elif padding == "SAME":
        padding = lax.padtype_to_pads(x.shape[1:3], size, strides, "SAME")
    elif padding == "VALID":
        padding = [(0, 0), (0, 0)]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


GEOMETRY = {
    "size": st.tuples(st.integers(5, 8), st.integers(5, 8)),
    "kernel_size": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
}


@FEW
@given(
    **GEOMETRY,
    padding=st.sampled_from(["TORCH", "SAME", "VALID"]),
    multiplier=st.integers(1, 2),
)
def test_depthwise_taps_equal_lax(size, kernel_size, strides, dilation, padding, multiplier):
    if padding == "VALID" and any((k - 1) * d + 1 > s for k, d, s in zip(kernel_size, dilation, size, strict=True)):
        return
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, *size, 3), normal(1, *kernel_size, 1, 3 * multiplier)

        def ours(x, kernel):
            return ops.depthwise_conv(x, kernel, strides=strides, padding=padding, dilation=dilation, lowering="taps")

        @jax.jit
        def both(x, kernel, g):
            expected, transpose = jax.vjp(lambda x, k: reference(x, k, strides, padding, dilation), x, kernel)
            found, our_transpose = jax.vjp(ours, x, kernel)
            return (found, *our_transpose(g)), (expected, *transpose(g))

        shape = jax.eval_shape(ours, x, kernel).shape
        for found, expected in zip(*both(x, kernel, normal(2, *shape)), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-11)


@FEW
@given(
    **GEOMETRY,
    channels=st.integers(1, 5),
)
def test_dense_conv_equals_lax_for_few_channels_and_more(size, kernel_size, strides, dilation, channels):
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, *size, channels), normal(1, *kernel_size, channels, 3)

        @jax.jit
        def both(x, kernel):
            expected, transpose = jax.vjp(lambda x, k: reference(x, k, strides, "TORCH", dilation), x, kernel)
            found, our_transpose = jax.vjp(lambda x, k: ops.conv(x, k, strides=strides, dilation=dilation), x, kernel)
            return (found, *our_transpose(found)), (expected, *transpose(expected))

        for found, expected in zip(*both(x, kernel), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("lowering", ["auto", "taps", "xla"])
def test_depthwise_lowerings_agree_under_vmap_and_jit(lowering):
    x, kernel = normal(0, 3, 2, 6, 6, 4).astype(jnp.float32), normal(1, 3, 3, 1, 4).astype(jnp.float32)
    found = jax.jit(jax.vmap(lambda x: ops.depthwise_conv(x, kernel, strides=2, lowering=lowering)))(x)
    expected = jnp.stack([reference(one, kernel, (2, 2), "TORCH", (1, 1)) for one in x])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_depthwise_on_a_cpu_holds_no_convolution():
    program = jax.jit(lambda x, k: ops.depthwise_conv(x, k)).lower(jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4)))
    assert " convolution(" not in program.compile().as_text()


@pytest.mark.parametrize("strides", [1, 2])
def test_pointwise_equals_lax(strides):
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, 5, 6, 3), normal(1, 1, 1, 3, 7)
        expected = reference(x, kernel, (strides, strides), "VALID", (1, 1))
        np.testing.assert_allclose(ops.pointwise_conv(x, kernel, strides=strides), expected, atol=1e-13)


def test_grouped_conv_equals_lax():
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, 6, 6, 4), normal(1, 3, 3, 2, 6)
        expected = reference(x, kernel, (2, 2), "TORCH", (1, 1))
        np.testing.assert_allclose(ops.conv(x, kernel, strides=2, groups=2), expected, atol=1e-13)


def test_torch_and_same_padding_differ_at_stride_two_on_an_even_map():
    x, kernel = normal(0, 1, 8, 8, 1).astype(jnp.float32), jnp.ones((3, 3, 1, 1))
    torch, same = (ops.conv(x, kernel, strides=2, padding=p) for p in ("TORCH", "SAME"))
    assert torch.shape == same.shape
    assert float(jnp.max(jnp.abs(torch - same))) > 0.1


@pytest.mark.parametrize("lowering", ["auto", "taps", "xla"])
@pytest.mark.parametrize("shape", [(0, 4, 4, 2), (2, 1, 1, 2)])
def test_empty_batches_and_single_positions(lowering, shape):
    x, kernel = jnp.ones(shape), jnp.ones((3, 3, 1, 2))
    y, transpose = jax.vjp(lambda x, k: ops.depthwise_conv(x, k, lowering=lowering), x, kernel)
    dx, dkernel = transpose(jnp.ones_like(y))
    assert (y.shape, dx.shape, dkernel.shape) == (shape, shape, kernel.shape)
    assert ops.conv(x, jnp.ones((3, 3, 2, 5))).shape == (*shape[:3], 5)


def test_bfloat16_sums_its_kernel_gradient_in_float32():
    x, kernel = jnp.ones((64, 8, 8, 2), jnp.bfloat16), jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    gradient = jax.grad(lambda k: ops.depthwise_conv(x, k, lowering="taps").astype(jnp.float32).sum())(kernel)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(jnp.float32), jnp.full((1, 1, 1, 2), 4096.0))


def test_forward_mode_is_there_for_the_xla_lowering_alone():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 1, 2))
    jax.jvp(lambda x: ops.depthwise_conv(x, kernel, lowering="xla"), (x,), (x,))
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda x: ops.depthwise_conv(x, kernel, lowering="taps"), (x,), (x,))


def test_a_kernel_that_is_not_depthwise_is_refused():
    with pytest.raises(ValueError, match=r"shape \(kh, kw, 1, 4 \* multiplier\)"):
        ops.depthwise_conv(jnp.ones((1, 4, 4, 4)), jnp.ones((3, 3, 4, 4)))


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="TORCH"):
        ops.conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), padding="same")  # type: ignore[arg-type]
