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
