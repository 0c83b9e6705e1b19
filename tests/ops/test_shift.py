"""Shifts: which pixels move where, and which channels reach which."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW, ROUNDING, assert_equal, assert_same, normal, reference

from jsep import ops
from jsep.ops.shift import _folded, _moved, shift_by_kernel

X = jax.random.normal(jax.random.key(0), (2, 5, 6, 8))


def test_address_shift_moves_each_group_by_one_position():
    up, down, left, right = np.split(np.asarray(ops.address_shift(X)), 4, -1)
    x = np.split(np.asarray(X), 4, -1)
    assert np.array_equal(up[:, :-1], x[0][:, 1:])
    assert not up[:, -1].any()
    assert np.array_equal(down[:, 1:], x[1][:, :-1])
    assert not down[:, 0].any()
    assert np.array_equal(left[:, :, :-1], x[2][:, :, 1:])
    assert not left[:, :, -1].any()
    assert np.array_equal(right[:, :, 1:], x[3][:, :, :-1])
    assert not right[:, :, 0].any()


def test_both_modes_are_the_same_in_the_interior():
    zero, address = ops.address_shift(X), ops.address_shift(X, mode="address")
    assert jnp.array_equal(zero[:, 1:-1, 1:-1], address[:, 1:-1, 1:-1])
    # at the edge, rows wrap for up and down, and the neighbouring row's pixel enters for left and right
    assert jnp.array_equal(address[:, -1, :, :2], X[:, 0, :, :2])
    assert jnp.array_equal(address[:, 0, -1, 4:6], X[:, 1, 0, 4:6])


def test_address_shift_needs_four_groups():
    with pytest.raises(ValueError, match="a multiple of 4 channels, not 6"):
        ops.address_shift(X[..., :6])


@FEW
@given(
    images=st.integers(1, 3),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    quarter=st.integers(1, 5),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_address_shift_by_a_convolution_is_that_by_slices(images, size, quarter, dtype):
    x = normal(0, images, *size, 4 * quarter).astype(dtype)
    assert_same(shift_by_kernel, lambda x: _moved(x, "zero"), x)


@FEW
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    groups=st.integers(1, 3),
    inputs=st.integers(1, 3),
    outputs=st.integers(1, 3),
    steps=st.integers(-3, 20),
    dtype=st.sampled_from(list(ROUNDING)),
)
def test_rows_of_a_kernel_move_in_place_of_channels(size, groups, inputs, outputs, steps, dtype):
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, *size, 4 * groups * inputs), normal(1, 1, 1, 4 * inputs, groups * outputs)
        shift = ops.Shift(steps)
        assert_equal(
            partial(_folded, shift=shift, groups=groups),
            lambda x, k: reference(ops.shifted(x, shift), k, (1, 1), "VALID", (1, 1)),
            x,
            kernel,
            dtype,
        )


@pytest.mark.parametrize("mode", ["zero", "address"])
def test_a_shifted_convolution_shifts_first(mode):
    shift, kernel = ops.Shift(3, mode), normal(1, 3, 3, 4, 6).astype(X.dtype)
    found = ops.shifted_conv(X, kernel, shift=shift, groups=2, strides=2)
    expected = ops.conv(ops.address_shift(ops.channel_shift(X, 3), mode=mode), kernel, groups=2, strides=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def reach(move, convolutions: int, groups: int = 4, channels: int = 32) -> float:
    """The largest share of input channels that an output sees after several grouped 1x1 convolutions."""
    kernel = jnp.ones((1, 1, channels // groups, channels))
    x = jnp.eye(channels).reshape(channels, 1, 1, channels)  # an image for each channel
    for i in range(convolutions):
        x = ops.conv(move(x) if i else x, kernel, groups=groups)
    return float((x[:, 0, 0] > 0).sum(0).max()) / channels


def test_channel_shift_reaches_further_with_every_grouped_convolution():
    assert [reach(lambda x: ops.channel_shift(x, 4), n) for n in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert [reach(lambda x: ops.channel_shuffle(x, 4), n) for n in (1, 2)] == [0.25, 1.0]
    # shifts by whole groups never mix anything
    assert reach(lambda x: ops.channel_shift(x, 8), 4) == 0.25


def test_shortcut_shift_forgets_the_oldest_channels():
    new = jnp.ones((2, 5, 6, 3))
    window = ops.shortcut_shift(X, new)
    assert window.shape == X.shape
    assert jnp.array_equal(window[..., :5], X[..., 3:])
    assert jnp.array_equal(window[..., 5:], new)
    assert jnp.array_equal(ops.shortcut_shift(X, 2 * X), 2 * X)  # a window full of new channels leaves no shortcut
