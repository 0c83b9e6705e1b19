"""The form of the exchanged convolution that is for TPUs: against `lax`, and where it is taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW, ROUNDING, assert_equal, normal, reference

from jsep import ops
from jsep.ops.exchanged import _sums


@FEW
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 4),
    kernel_size=st.tuples(*[st.sampled_from([1, 3, 5])] * 2),
    dtype=st.sampled_from(list(ROUNDING)),
)
def test_the_form_of_a_tpu_is_that_of_lax(shape, kernel_size, dtype):
    with jax.enable_x64(True):
        x, kernel = normal(0, *shape), normal(1, *kernel_size, 1, shape[-1])
        assert_equal(_sums, lambda x, k: reference(x, k, (1, 1), "TORCH", (1, 1)), x, kernel, dtype)


def gradients(x, kernel):
    y, transpose = jax.vjp(ops.exchanged_conv, x, kernel)
    return y, transpose(y)


@pytest.mark.parametrize(("platform", "convolutions"), [("tpu", 0), ("cuda", 3)])
@pytest.mark.parametrize(("shape", "kernel"), [((2, 8, 8, 14), (3, 3, 1, 14)), ((2, 16, 1), (5, 1, 1))])
def test_a_tpu_alone_has_no_convolution(platform, convolutions, shape, kernel):
    shapes = [jax.ShapeDtypeStruct(s, jnp.bfloat16) for s in (shape, kernel)]
    with ops.for_another_machine():
        program = jax.export.export(jax.jit(gradients), platforms=[platform])(*shapes)
    assert program.mlir_module().count("stablehlo.convolution") == convolutions


def test_second_gradients():
    x, kernel = (normal(i, *shape).astype(jnp.float32) for i, shape in enumerate([(2, 4, 5, 3), (3, 3, 1, 3)]))

    def norm(convolve):
        return jax.grad(lambda x: jnp.sum(jax.grad(lambda k: jnp.sum(convolve(x, k) ** 2))(kernel) ** 2))

    found = jax.jit(jax.vmap(norm(_sums)))(x[None])[0]
    expected = jax.jit(norm(lambda x, k: reference(x, k, (1, 1), "TORCH", (1, 1))))(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(jnp.max(jnp.abs(expected))))
