"""Resizing, against loops and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW

from jsep import ops

SIZES = [
    ((5, 3), (7, 3)),
    ((7, 4), (5, 9)),
    ((4, 6), (11, 1)),
    ((11, 1), (4, 5)),
    ((3, 3), (3, 3)),
    ((65, 3), (130, 8)),
]


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
def test_an_axis_is_resized_as_torch_does(length, size):
    functional = pytest.importorskip("torch.nn.functional", reason="the reference needs torch")
    x = np.random.default_rng(0).normal(size=(2, length, 3, 4)).astype(np.float32)
    images = _images(x)
    if size > length:
        theirs = functional.interpolate(images, size=(size, 3), mode="bilinear", align_corners=True)
    else:
        theirs = functional.adaptive_avg_pool2d(images, (size, 3))
    np.testing.assert_allclose(ops.resize_axis(jnp.asarray(x), 1, size), theirs.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize(("size", "to"), SIZES)
@pytest.mark.parametrize("align_corners", [False, True])
def test_maps_are_resized_as_torch_does(size, to, align_corners):
    """Values and gradients, upwards and downwards."""
    functional = pytest.importorskip("torch.nn.functional", reason="the reference needs torch")
    rng = np.random.default_rng(0)
    x, change = (rng.normal(size=(2, *sides, 3)).astype(np.float32) for sides in (size, to))
    images = _images(x).requires_grad_()
    theirs = functional.interpolate(images, size=to, mode="bilinear", align_corners=align_corners)
    theirs.backward(_images(change))
    ours, gradient = jax.vjp(lambda x: ops.resize(x, to, align_corners=align_corners), jnp.asarray(x))
    np.testing.assert_allclose(ours, theirs.detach().permute(0, 2, 3, 1), atol=1e-5)
    assert images.grad is not None
    np.testing.assert_allclose(gradient(jnp.asarray(change))[0], images.grad.permute(0, 2, 3, 1), atol=2e-5)


@pytest.mark.parametrize(("size", "to"), SIZES)
def test_means_of_windows_are_those_of_torch(size, to):
    functional = pytest.importorskip("torch.nn.functional", reason="the reference needs torch")
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    theirs = functional.adaptive_avg_pool2d(_images(x), to)
    np.testing.assert_allclose(ops.adaptive_avg_pool(jnp.asarray(x), to), theirs.permute(0, 2, 3, 1), atol=1e-5)


def _images(x):
    """Return maps as PyTorch has them: (n, h, w, c) -> (n, c, h, w)."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
