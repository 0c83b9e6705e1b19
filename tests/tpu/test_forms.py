"""Forms of operations for TPUs: a program compiled for one holds them, and not those of other platforms."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from jsep import ops

X = jax.ShapeDtypeStruct((32, 8, 8, 48), jnp.bfloat16)


def program(f, *arrays) -> str:
    """Return what a TPU would run for the value and the gradients of `f`."""
    pytest.importorskip("libtpu", reason="compiling for a TPU needs libtpu")
    from jsep.tpu.chips import describe

    def both(*arrays):
        y, transpose = jax.vjp(f, *arrays)
        return y, transpose(y)

    place = SingleDeviceSharding(describe("v5e", "1x1")[0])
    placed = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place) for a in arrays]
    with ops.for_another_machine():
        return str(jax.jit(both).lower(*placed).compile().as_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("f", "kernel", "new", "old"),
    [
        (ops.address_shift, None, "feature_group_count=48", "concatenate("),
        (lambda x: ops.channel_shuffle(x, 2), None, "convolution(", "[32,8,8,2,24]"),
        (lambda x: ops.avg_pool(x, 2), None, "convolution(", "reduce-window("),
        (lambda x, k: ops.conv(x, k, groups=3), (1, 1, 16, 48), "convolution(", "8,8,3,16]"),
        (
            lambda x, k: ops.shifted_conv(x, k, shift=ops.Shift(8), groups=3),
            (1, 1, 16, 48),
            "feature_group_count=48",
            "concatenate(",
        ),
        (ops.pointwise_conv, (1, 1, 48, 96), "[32,8,8,96]", "[2048,"),
    ],
)
def test_a_tpu_has_forms_of_its_own(f, kernel, new, old):
    arrays = (X,) if kernel is None else (X, jax.ShapeDtypeStruct(kernel, X.dtype))
    text = program(f, *arrays)
    assert new in text
    assert old not in text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_export_serves_cpus_and_tpus(dtype):
    @jax.checkpoint
    def loss(x, kernel):
        x = ops.channel_shuffle(ops.address_shift(ops.conv(x, kernel, groups=3)), 2)
        return ops.avg_pool(ops.shifted_conv(x, kernel, shift=ops.Shift(2), groups=3), 2).sum()

    each = jax.vmap(jax.grad(loss, (0, 1)), (0, None))
    x, kernel = jnp.ones((2, 1, 4, 4, 12), dtype), jnp.ones((1, 1, 4, 12), dtype)
    with ops.for_another_machine():
        exported = jax.export.export(jax.jit(each), platforms=("cpu", "tpu"))(x, kernel)
    for found, expected in zip(exported.call(x, kernel), each(x, kernel), strict=True):
        np.testing.assert_allclose(found.astype("float32"), expected.astype("float32"), rtol=2e-2)
