"""Batch-norm statistics computed again from images."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsep.compress import renew_statistics
from jsep.layers import BatchNorm, Conv


class Two(nn.Module):
    """Two batch norms with different momenta."""

    @nn.compact
    def __call__(self, x, *, train=False):
        for share in (0.99, 0.5):
            x = nn.relu(BatchNorm(share)(Conv(4, 3)(x), train=train))
        return x


def test_statistics_are_the_mean_over_the_batches_with_nothing_of_the_earlier_ones():
    model = Two()
    batches = [jnp.asarray(np.random.default_rng(i).normal(i, 1, (4, 8, 8, 3)), jnp.float32) for i in (0, 1, 2)]
    variables = jax.jit(model.init)(jax.random.key(0), batches[0])
    train = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    far = {**variables, "batch_stats": jax.tree.map(lambda leaf: leaf + 1000, variables["batch_stats"])}
    singly = [renew_statistics(model, variables, [x]) for x in batches]
    for x, renewed in zip(batches, singly, strict=True):  # evaluating with a batch's statistics is training on it
        trained, _ = train(variables, x)
        np.testing.assert_allclose(jax.jit(model.apply)(renewed, x), trained, rtol=1e-4, atol=1e-5)
    jax.tree.map(
        lambda found, *each: np.testing.assert_allclose(found, np.mean(each, 0), rtol=1e-5),
        renew_statistics(model, far, iter(batches))["batch_stats"],
        *(renewed["batch_stats"] for renewed in singly),
    )
