"""Dense, grouped and pointwise convolution against `lax`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW, GEOMETRY, ROUNDING, assert_equal, normal, reference

from jsep import ops
from jsep.ops.conv import _dense, dense_is_better
from jsep.ops.geometry import Geometry


@FEW
@given(
    **GEOMETRY,
    images=st.integers(1, 3),
    groups=st.integers(1, 3),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 3),
    lowering=st.sampled_from(["auto", "products", "xla"]),
    dtype=st.sampled_from(list(ROUNDING)),
)
def test_every_lowering_is_that_of_lax(
    size, kernel_size, strides, dilation, padding, images, groups, inputs, outputs, lowering, dtype
):
    with jax.enable_x64(True):
        x, kernel = normal(0, images, *size, inputs * groups), normal(1, *kernel_size, inputs, outputs * groups)
        if 0 in jax.eval_shape(lambda x, k: reference(x, k, strides, padding, dilation), x, kernel).shape:
            return  # the window does not fit: lax has no gradient there

        def ours(x, kernel):
            options = {"strides": strides, "padding": padding, "dilation": dilation}
            return ops.conv(x, kernel, **options, groups=groups, lowering=lowering)

        assert_equal(ours, lambda x, k: reference(x, k, strides, padding, dilation), x, kernel, dtype)


@FEW
@given(
    size=GEOMETRY["size"],
    strides=GEOMETRY["strides"],
    groups=st.integers(1, 4),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 6),
    dtype=st.sampled_from(list(ROUNDING)),
)
def test_a_dense_kernel_is_a_grouped_convolution(size, strides, groups, inputs, outputs, dtype):
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, *size, inputs * groups), normal(1, 1, 1, inputs, outputs * groups)
        geometry = Geometry(strides, ((0, 0), (0, 0)), (1, 1))
        assert_equal(
            lambda x, k: _dense(x, k, geometry, groups),
            lambda x, k: reference(x, k, strides, "VALID", (1, 1)),
            x,
            kernel,
            dtype,
        )


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "dense"),
    [(18, 108, 3, True), (432, 72, 3, True), (384, 64, 2, True), (960, 160, 2, False), (1024, 1024, 8, False)],
)
def test_a_tpu_has_dense_kernels_where_they_fill_no_more_tiles(inputs, outputs, groups, dense):
    """As measured: of these, the dense form of the last two takes two and five times the cycles of groups."""
    assert dense_is_better((1, 1, inputs // groups, outputs), groups) is dense
    assert not dense_is_better((3, 3, inputs // groups, outputs), groups)


def test_cutting_one_end_and_padding_the_other():
    """With a stride above 1, XLA on a CPU would read out of bounds here."""
    x, kernel = (a.astype(jnp.float32) for a in (normal(0, 2, 9, 8, 6), normal(1, 3, 3, 6, 4)))
    padding = ((-1, 2), (0, -1))
    found = ops.conv(x, kernel, strides=2, padding=padding, lowering="xla")
    np.testing.assert_allclose(found, reference(x, kernel, (2, 2), padding, (1, 1)), rtol=1e-4, atol=1e-4)


def test_groups_on_a_cpu_are_dense_convolutions():
    """XLA's own grouped gradient is up to a hundred times slower, so it must not be used."""

    def loss(x, kernel):
        return jnp.sum(ops.conv(x, kernel, groups=4))

    program = jax.jit(jax.grad(loss, (0, 1))).lower(jnp.ones((2, 8, 8, 32)), jnp.ones((3, 3, 8, 32)))
    text = str(program.compile().as_text())
    assert "HloModule" in text
    assert "feature_group_count" not in text
    assert "batch_group_count" not in text


@pytest.mark.parametrize("strides", [1, 2])
def test_pointwise_equals_lax(strides):
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, 5, 6, 3), normal(1, 1, 1, 3, 7)
        expected = reference(x, kernel, (strides, strides), "VALID", (1, 1))
        np.testing.assert_allclose(ops.pointwise_conv(x, kernel, strides=strides), expected, atol=1e-13)


def test_torch_and_same_padding_differ_at_stride_two_on_an_even_map():
    x, kernel = normal(0, 1, 8, 8, 1).astype(jnp.float32), jnp.ones((3, 3, 1, 1))
    torch, same = (ops.conv(x, kernel, strides=2, padding=p) for p in ("TORCH", "SAME"))
    assert torch.shape == same.shape
    assert float(jnp.max(jnp.abs(torch - same))) > 0.1


@pytest.mark.usefixtures("unchecked")
def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="TORCH"):
        ops.conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), padding="same")  # type: ignore[arg-type]


def test_what_is_to_be_portable_holds_one_plain_operation():
    x = jnp.ones((2, 8, 8, 6))
    calls = {
        "conv_general_dilated": [
            lambda: ops.conv(x, jnp.ones((3, 3, 2, 6)), groups=3),
            lambda: ops.depthwise_conv(x, jnp.ones((3, 3, 1, 6))),
            lambda: ops.pointwise_conv(x, jnp.ones((1, 1, 6, 4)), strides=2),
        ],
        "reduce_window_max": [lambda: ops.max_pool(x, 2)],
    }
    for name, functions in calls.items():
        for function in functions:
            with ops.portable_operations():
                program, plain = jax.make_jaxpr(function)(), function()
            assert [equation.primitive.name for equation in program.eqns if equation.outvars][-1] == name
            assert "platform_index" not in str(program)
            np.testing.assert_allclose(plain, function(), rtol=1e-6)
    assert "platform_index" in str(jax.make_jaxpr(calls["conv_general_dilated"][1])())
