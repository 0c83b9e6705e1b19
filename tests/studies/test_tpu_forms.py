"""The study of steps with and without the forms for TPUs compares what it says."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import pytest
import tpu_forms as experiment

from jsep import ops


@pytest.mark.parametrize("without", [False, True])
def test_the_context_leaves_the_forms_for_tpus_out(without):
    with experiment.without_forms() if without else nullcontext():
        traced = jax.jit(lambda x: ops.group_sum(x, 2)).trace(jnp.ones((1, 2, 2, 6)))
    assert ("dot_general" in traced.lower(lowering_platforms=("tpu",)).as_text()) != without
