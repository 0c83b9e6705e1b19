"""Resizing of one axis, against loops and against PyTorch."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW

from jsep import ops


@FEW
@given(length=st.integers(1, 9), size=st.integers(1, 9))
def test_downwards_is_the_mean_and_upwards_meets_both_ends(length, size):
    x = np.random.default_rng(0).normal(size=(2, length, 3)).astype(np.float32)
    y = np.asarray(ops.resize_axis(jnp.asarray(x), 1, size))
    assert y.shape == (2, size, 3)
    if size <= length:
        for i in range(size):
            part = x[:, i * length // size : -(-(i + 1) * length // size)]
            np.testing.assert_allclose(y[:, i], part.mean(1), atol=1e-6)
    else:
        np.testing.assert_allclose(y[:, [0, -1]], x[:, [0, -1]], atol=1e-6)


@pytest.mark.parametrize(("length", "size"), [(5, 7), (7, 5), (4, 11), (11, 4), (3, 3)])
def test_resizing_is_that_of_torch(length, size):
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    x = np.random.default_rng(0).normal(size=(2, length, 3, 4)).astype(np.float32)
    images = torch.from_numpy(x.transpose(0, 3, 1, 2))
    if size > length:
        theirs = torch.nn.functional.interpolate(images, size=(size, 3), mode="bilinear", align_corners=True)
    else:
        theirs = torch.nn.functional.adaptive_avg_pool2d(images, (size, 3))
    np.testing.assert_allclose(ops.resize_axis(jnp.asarray(x), 1, size), theirs.permute(0, 2, 3, 1), atol=1e-5)
