"""Compiler options of forward passes: given where they are needed, and what they are needed for."""

import jax
import jax.numpy as jnp
import pytest

from jsep import ops


@pytest.mark.parametrize(
    ("version", "platform", "given"),
    [((0, 10, 2), "cpu", True), ((0, 12, 0), "cpu", True), ((0, 10, 2), "tpu", False), ((0, 13, 0), "cpu", False)],
)
def test_options_are_given_to_some_versions_on_a_cpu_alone(monkeypatch, version, platform, given):
    monkeypatch.setattr(jax, "__version_info__", version)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert bool(ops.inference_options()) == given


def test_a_forward_pass_keeps_nan():
    """JAX 0.10.2 and 0.12.0 lose it here without the options."""
    x = jnp.ones((4, 8, 8, 16)).at[0, 0, 0, 0].set(jnp.nan)
    assert jnp.isnan(ops.jit_inference(lambda x: jax.nn.relu(2 * x + 1).mean((1, 2)))(x)[0, 0])
