"""Dropout: its rate, its scale, and its dependence on the example only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import ops


def test_rate_and_mean():
    y = ops.dropout(jax.random.key(0), jnp.ones((64, 33, 31)), 0.35)
    assert abs(float((y == 0).mean()) - 0.35) < 0.01
    assert abs(float(y.mean()) - 1) < 0.01
    assert abs(float((y[:, :16] == y[:, 17:]).mean()) - 0.545) < 0.01  # halves of a random word are independent
    kept = np.unique(np.asarray(y))
    np.testing.assert_allclose(kept, [0, 1 / 0.65], rtol=1e-4)


def test_the_mask_does_not_depend_on_the_devices():
    key, x = jax.random.key(1), jnp.ones((8, 5))
    whole = ops.dropout(key, x, 0.5)
    parts = jax.vmap(lambda part: ops.dropout(key, part, 0.5, axis_name="batch"), axis_name="batch")(x.reshape(4, 2, 5))
    np.testing.assert_array_equal(parts.reshape(8, 5), whole)
    assert len(np.unique(np.asarray(whole), axis=0)) > 1  # the examples differ


def test_the_gradient_is_finite_at_any_rate():
    gradient = jax.grad(lambda x: ops.dropout(jax.random.key(0), x, 0.9999999).sum())(jnp.ones((4, 5)))
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match="dropout rate"):
        ops.dropout(jax.random.key(0), jnp.ones((1, 1)), rate)
