"""Every lowering of the depthwise convolution: against `lax`, and under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW, GEOMETRY, ROUNDING, assert_equal, normal, reference

from jsep import ops

LOWERINGS = ["auto", "taps", "xla"]


@FEW
@given(
    **GEOMETRY,
    images=st.integers(1, 4),
    channels=st.integers(1, 4),
    multiplier=st.integers(1, 3),
    one_dimension=st.booleans(),
    lowering=st.sampled_from(LOWERINGS),
    dtype=st.sampled_from(list(ROUNDING)),
    wide=st.sampled_from([1, 10**6]),
)
def test_every_lowering_is_that_of_lax(
    size,
    kernel_size,
    strides,
    dilation,
    padding,
    images,
    channels,
    multiplier,
    one_dimension,
    lowering,
    dtype,
    wide,
):
    if one_dimension:
        size, kernel_size, strides, dilation = (pair[:1] for pair in (size, kernel_size, strides, dilation))
        padding = padding[:1] if isinstance(padding, tuple) else padding
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr("jsep.ops.depthwise.WIDE_MAP", wide)  # either form of the kernel gradient
        x, kernel = normal(0, images, *size, channels), normal(1, *kernel_size, 1, channels * multiplier)
        if 0 in jax.eval_shape(lambda x, k: reference(x, k, strides, padding, dilation), x, kernel).shape:
            return  # the window does not fit: lax has no gradient there

        def ours(x, kernel):
            return ops.depthwise_conv(x, kernel, strides=strides, padding=padding, dilation=dilation, lowering=lowering)

        assert_equal(ours, lambda x, k: reference(x, k, strides, padding, dilation), x, kernel, dtype)


def exported(f, x):
    with ops.for_another_machine():
        return jax.export.export(jax.jit(f))(jax.ShapeDtypeStruct(x.shape, x.dtype))


TRANSFORMATIONS = {
    "jit": lambda f, x: jax.jit(f)(x),
    "vmap": lambda f, x: jax.vmap(f)(x[None])[0],
    "pmap": lambda f, x: jax.pmap(f)(x[None])[0],
    "scan": lambda f, x: jax.lax.scan(lambda total, one: (total, f(one)), 0.0, x[None])[1][0],
    "remat": lambda f, x: jax.checkpoint(f)(x),
    "export": lambda f, x: exported(f, x).call(x),
}


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_gradients_under_transformations(name, lowering):
    x, kernel = normal(0, 2, 6, 6, 4).astype(jnp.float32), normal(1, 3, 3, 1, 4).astype(jnp.float32)

    def gradient(convolve):
        return jax.grad(lambda x: jnp.sum(convolve(x) ** 2))

    found = TRANSFORMATIONS[name](gradient(lambda x: ops.depthwise_conv(x, kernel, strides=2, lowering=lowering)), x)
    expected = gradient(lambda x: reference(x, kernel, (2, 2), "TORCH", (1, 1)))(x)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_exported_program_holds_every_platform():
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in [(2, 8, 8, 4), (3, 3, 1, 4)]]
    with ops.for_another_machine():
        program = jax.export.export(jax.jit(ops.depthwise_conv), platforms=["cpu", "cuda", "tpu"])(*shapes)
    assert program.platforms == ("cpu", "cuda", "tpu")


def test_on_a_cpu_it_holds_no_convolution():
    program = jax.jit(lambda x, k: ops.depthwise_conv(x, k)).lower(jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4)))
    text = str(program.compile().as_text())
    assert "HloModule" in text
    assert " convolution(" not in text


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


@pytest.mark.usefixtures("unchecked")
def test_a_kernel_that_is_not_depthwise_is_refused():
    with pytest.raises(ValueError, match=r"shape \(kh, kw, 1, 4 \* multiplier\)"):
        ops.depthwise_conv(jnp.ones((1, 4, 4, 4)), jnp.ones((3, 3, 4, 4)))
