"""The shuffle of channels: which go where, and its form for TPUs."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW, assert_same, normal

from jsep import ops
from jsep.ops.shuffle import _interleaved, _permuted


@pytest.mark.parametrize("shape", [(12,), (3, 12), (2, 3, 4, 12)])
def test_output_j_times_groups_plus_i_is_channel_j_of_group_i(shape):
    x = jnp.asarray(np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape), jnp.float32)
    y = ops.channel_shuffle(x, 3)
    for i in range(3):
        np.testing.assert_array_equal(y[..., i::3], x[..., 4 * i : 4 * i + 4])


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="5 groups do not divide 12 channels"):
        ops.channel_shuffle(jnp.ones((1, 12)), 5)


@FEW
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 5),
    size=st.integers(1, 6),
    dtype=st.sampled_from(["float32", "bfloat16"]),
)
def test_a_product_with_a_permutation_shuffles_exactly(shape, groups, size, dtype):
    x = normal(0, *shape, groups * size).astype(dtype)
    assert_same(lambda x: _permuted(x, groups), lambda x: _interleaved(x, groups), x)
