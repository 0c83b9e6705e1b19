"""Both forms of the group sum: against the sum over the channels of each group, in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import FEW, ROUNDING, normal

from jsep import ops
from jsep.ops.sharing import _product, _summed


@FEW
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 5),
    sharing=st.integers(1, 5),
    weighted=st.booleans(),
    interleaved=st.booleans(),
    dtype=st.sampled_from(list(ROUNDING)),
    form=st.sampled_from([_summed, _product]),
)
def test_every_form_is_the_sum_over_each_group(shape, groups, sharing, weighted, interleaved, dtype, form):
    channels = groups * sharing
    own = np.arange(channels) % groups if interleaved else np.arange(channels) // sharing
    with jax.enable_x64(True):
        x, weights, g = normal(0, *shape, channels), normal(1, channels), normal(2, *shape, groups)
        x, weights, g = (a.astype(dtype) for a in (x, weights, g))
        weights = weights if weighted else jnp.ones(channels, dtype)

        def spread(x, weights):
            return jnp.zeros(g.shape).at[..., own].add(x * weights.reshape(1, 1, 1, -1))

        def ours(x, weights):
            return form(x, weights if weighted else None, groups, interleaved)

        @jax.jit
        def both():
            expected, transpose = jax.vjp(spread, *(a.astype("float64") for a in (x, weights)))
            found, our_transpose = jax.vjp(ours, x, weights)
            return (found, *our_transpose(g)), (expected, *transpose(g.astype("float64")))

        for found, expected in list(zip(*both(), strict=True))[: 3 if weighted else 2]:
            assert found.dtype == dtype
            limit = ROUNDING[dtype] * max(1.0, float(jnp.max(jnp.abs(expected), initial=0)))
            np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=limit, rtol=0)


def program(platform):
    with ops.for_another_machine():
        shapes = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in [(2, 4, 4, 8), (8,)]]
        return jax.export.export(jax.jit(lambda x, w: ops.group_sum(x, 2, w)), platforms=[platform])(*shapes)


@pytest.mark.parametrize(("platform", "product"), [("tpu", True), ("cpu", False), ("cuda", False)])
def test_a_tpu_alone_multiplies_with_a_matrix(platform, product):
    assert ("dot_general" in program(platform).mlir_module()) == product
