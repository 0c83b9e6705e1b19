"""Moments against their definition, and shared over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import ops


def test_moments_are_those_of_numpy():
    x = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 2)).astype(np.float32)
    mean, var = ops.batch_moments(jnp.asarray(x))
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), rtol=1e-4)


def test_moments_over_devices_are_those_of_the_whole_batch():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 3, 3, 2)), jnp.float32)
    shared = jax.vmap(lambda part: ops.batch_moments(part, "batch"), axis_name="batch")(x)
    for found, expected in zip(shared, ops.batch_moments(x.reshape(8, 3, 3, 2)), strict=True):
        np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-7)


def test_bfloat16_is_measured_in_float32():
    x = jnp.full((64, 8, 8, 1), 1.0, jnp.bfloat16)
    mean, var = ops.batch_moments(x)
    assert mean.dtype == var.dtype == jnp.float32
    np.testing.assert_allclose(mean, [1.0])


def test_a_normalised_batch_has_mean_bias_and_deviation_scale():
    x = jnp.asarray(np.random.default_rng(0).normal(5, 3, (64, 4, 4, 1)), jnp.float32)
    y = ops.batch_norm(x, *ops.batch_moments(x), jnp.array([2.0]), jnp.array([-1.0]), 0.0)
    np.testing.assert_allclose(y.mean(), -1, atol=1e-4)
    np.testing.assert_allclose(y.std(), 2, rtol=1e-4)


@pytest.mark.parametrize("devices", [1, 4])
def test_the_gradient_of_training_is_that_of_autodiff(devices):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, g = (jnp.asarray(rng.normal(1, 2, (devices, 8 // devices, 3, 3, 2))) for _ in range(2))
        scale, bias = jnp.asarray([1.5, -0.5]), jnp.asarray([0.1, 0.2])

        def plain(x, scale, bias):
            return ops.batch_norm(x, *ops.batch_moments(x, "batch"), scale, bias, 1e-3)

        def ours(x, scale, bias):
            return ops.batch_norm_train(x, scale, bias, 1e-3, "batch")[0]

        def gradients(function):
            def one(x, g):
                y, transpose = jax.vjp(function, x, scale, bias)
                dx, dscale, dbias = transpose(g)
                return y, dx, jax.lax.psum(dscale, "batch"), jax.lax.psum(dbias, "batch")

            return jax.vmap(one, axis_name="batch")(x, g)

        for found, expected in zip(gradients(ours), gradients(plain), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-12)


@jax.jit
def exact(x, g, scale, bias):
    """The normalised batch, its gradients, its mean and its variance, by their definitions."""

    def forward(x, scale, bias):
        axes = (0, 1, 2)
        y = (x - x.mean(axes, keepdims=True)) / jnp.sqrt(x.var(axes, keepdims=True) + 1e-5)
        return y * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1), (x.mean(axes), x.var(axes))

    y, transpose, moments = jax.vjp(forward, x, scale, bias, has_aux=True)
    return y, *transpose(g), *moments


@jax.jit
def trained(x, g, scale, bias):
    """The same from `batch_norm_train`, for batches that are split over devices (the first axis)."""

    def one(x, g):
        def forward(x, scale, bias):
            y, *moments = ops.batch_norm_train(x, scale, bias, 1e-5, "batch")
            return y, moments

        y, transpose, moments = jax.vjp(forward, x, scale, bias, has_aux=True)
        dx, *rest = transpose(g)
        return y, dx, *jax.lax.psum(rest, "batch"), *moments

    y, dx, *rest = jax.vmap(one, axis_name="batch")(x, g)
    return y.reshape(-1, *y.shape[2:]), dx.reshape(-1, *dx.shape[2:]), *(value[0] for value in rest)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize(
    ("mean", "std", "place", "outlier"),
    [
        (0, 1, (), 0),
        (-300, 1, (), 0),
        (10_000, 1, (), 0),
        (1000, 0.1, (), 0),
        (1000, 0.1, (0, 0, 0), 1000),  # a first value far from all others
        (10_000, 1, (slice(None), 0, 0), -10_000),  # a position that is zero in every image
    ],
)
def test_values_far_from_zero_keep_their_digits(devices, mean, std, place, outlier):
    rng = np.random.default_rng(0)
    x, g = rng.normal(mean, std, (8, 9, 9, 2)), rng.normal(0.5, 1, (8, 9, 9, 2))
    x[place] += outlier
    arrays = [np.asarray(a, np.float32) for a in (x, g, [1.5, -0.5], [0.1, 0.2])]
    split = [a.reshape(devices, -1, *a.shape[1:]) for a in arrays[:2]]
    found = trained(*split, *arrays[2:])
    with jax.enable_x64(True):
        right = exact(*(a.astype(np.float64) for a in arrays))
    for ours, its in zip(found, right, strict=True):
        np.testing.assert_allclose(ours, its, rtol=0, atol=2e-5 * np.abs(its).max())


def test_inference_far_from_zero_keeps_its_digits():
    x = np.random.default_rng(0).normal(1000, 0.1, (64, 1)).astype(np.float32)
    mean, var = (jnp.asarray([value], jnp.float32) for value in (x.mean(dtype=np.float64), 0.01))
    y = jax.jit(ops.batch_norm, static_argnums=5)(x, mean, var, jnp.ones(1), jnp.zeros(1), 0.0)
    np.testing.assert_allclose(y, (x - np.float64(mean)) / np.sqrt(np.float64(var)), atol=1e-5)


def test_devices_see_the_same_moments():
    """Values on one device that are nothing like those on the others."""
    x = jnp.asarray(np.random.default_rng(0).normal([[[0.0]], [[1000.0]]], 1.0, (2, 6, 3)), jnp.float32)
    mean, var = jax.vmap(lambda part: ops.batch_moments(part, "batch"), axis_name="batch")(x)
    np.testing.assert_array_equal(mean[0], mean[1])
    np.testing.assert_array_equal(var[0], var[1])
    np.testing.assert_allclose(var[0], np.var(np.float64(x), (0, 1)), rtol=1e-6)
