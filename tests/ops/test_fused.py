"""The fused convolution by the native kernels and in plain JAX, against the definition in float64."""

import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from oracle import FEW, GEOMETRY, reference  # pyright: ignore[reportMissingImports] (of tests/ops)

from jsep import native, ops
from jsep.ops import Fold
from jsep.ops.fold import ACTIVATIONS, plain_fold
from jsep.ops.geometry import EmptyMap

NATIVE = pytest.mark.skipif(not native.kernels(), reason="the native kernels are not built")
TOLERANCE = {"float32": 6e-5, "bfloat16": 0.1}
FORMS = [pytest.param("native", marks=NATIVE), "plain"]


def definition(x, kernel, vectors, act, groups, depthwise, **geometry):
    """Return the output, its means and its variances."""
    folded = x if vectors is None else plain_fold(x, jnp.stack(vectors), act)
    if depthwise:
        parts = zip(jnp.split(folded, x.shape[-1], -1), jnp.split(kernel, x.shape[-1], -1), strict=True)
    else:
        parts = zip(jnp.split(folded, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    y = jnp.concatenate([reference(part, own, **geometry) for part, own in parts], -1)
    return y, y.mean((0, 1, 2)), y.var((0, 1, 2))


def fused(form, x, kernel, vectors, act, **options) -> tuple[Any, ...]:
    fold = None
    if vectors is not None:
        mean, factor, bias, slope = vectors
        fold = Fold(mean, factor, bias, act, slope)
    if form == "native":
        y, moments = ops.fused_conv(x, kernel, fold, **options)
    else:
        with ops.for_another_machine():
            y, moments = ops.fused_conv(x, kernel, fold, **options)
    return (y,) if moments is None else (y, moments.mean + moments.rest, moments.variance)


def pulled(function, arguments, cotangents):
    """Return the values and the gradients of a function."""
    values, transpose = jax.vjp(function, *arguments)
    return values, transpose(tuple(c.astype(v.dtype) for c, v in zip(cotangents, values, strict=True)))


WIDE = {"size": (4, 6), "kernel_size": (3, 3), "strides": (1, 1), "dilation": (1, 1), "padding": "TORCH", "groups": 1}
WIDE |= {"depthwise": False, "act": "relu", "features": 3, "seed": 0}


@pytest.mark.parametrize("form", FORMS)
@FEW
@example(**WIDE, channels=131, width=16, moments=False, dtype="bfloat16")
@example(**WIDE, channels=131, width=16, moments=True, dtype="float32")
@example(**WIDE, channels=1, width=7, moments=False, dtype="bfloat16")
@given(
    **GEOMETRY,
    channels=st.integers(1, 40),
    features=st.integers(1, 3),
    width=st.sampled_from([7, 16]),
    moments=st.booleans(),
    groups=st.sampled_from([1, 1, 2, 3]),
    depthwise=st.booleans(),
    act=st.sampled_from(["nothing", *ACTIVATIONS]),
    dtype=st.sampled_from(["float32", "float32", "bfloat16"]),
    seed=st.integers(0, 10),
)
def test_values_and_gradients_are_those_of_the_definition(
    form,
    size,
    kernel_size,
    strides,
    dilation,
    padding,
    channels,
    features,
    width,
    moments,
    groups,
    depthwise,
    act,
    dtype,
    seed,
):
    rng = np.random.default_rng(seed)
    inputs = channels if depthwise else channels * groups
    outputs = inputs * features if depthwise else groups * features * width
    shape = (*kernel_size, 1 if depthwise else channels, outputs)
    x, kernel = rng.normal(size=(3, *size, inputs)), rng.normal(size=shape) / np.sqrt(np.prod(shape[:3]))
    vectors = None if act == "nothing" else list(rng.normal(size=(4, inputs)))
    act = "none" if act == "nothing" else act
    geometry = {"strides": strides, "padding": padding, "dilation": dilation}
    x, kernel = (np.asarray(jnp.asarray(a, dtype), np.float64) for a in (x, kernel))  # as they are in that dtype
    try:
        ops.explicit_padding(padding, size, kernel_size, strides, dilation)
    except EmptyMap:
        return
    with jax.enable_x64(True):

        def exact(x, kernel, *vectors):
            found = definition(x, kernel, vectors or None, act, groups, depthwise, **geometry)
            return found if moments else found[:1]

        arguments = [jnp.asarray(a) for a in (x, kernel, *(vectors or ()))]
        y = jax.eval_shape(exact, *arguments)
        cotangents = [rng.normal(size=one.shape) for one in y]
        expected = pulled(exact, arguments, [jnp.asarray(c) for c in cotangents])

    def ours(x, kernel, *vectors):
        options = {"groups": groups, "depthwise": depthwise, "moments": moments, **geometry}
        return fused(form, x, kernel, vectors or None, act, **options)

    arguments = [jnp.asarray(x, dtype), jnp.asarray(kernel, dtype), *(jnp.asarray(v, "float32") for v in vectors or ())]
    found = jax.jit(lambda *a: pulled(ours, a, [jnp.asarray(c, "float32") for c in cotangents]))(*arguments)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.shape == other.shape
        one, other = np.asarray(one, np.float64), np.asarray(other)
        error = np.abs(one - other).max(initial=0) / max(1.0, np.abs(other).max(initial=0))
        assert error < TOLERANCE[dtype], (one.shape, error)


@pytest.mark.parametrize("form", FORMS)
def test_the_variance_keeps_its_digits_far_from_zero(form):
    rng = np.random.default_rng(0)
    x = (1000 + rng.normal(size=(16, 8, 8, 24))).astype(np.float32)
    kernel = np.eye(24, dtype=np.float32)[None, None]
    _, mean, variance = fused(form, jnp.asarray(x), jnp.asarray(kernel), None, "none")
    np.testing.assert_allclose(variance, x.astype(np.float64).var((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean((0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depthwise", [False, True])
def test_moments_of_a_million_positions(form, depthwise):
    x = np.random.default_rng(0).normal(size=(64, 128, 128, 4)).astype(np.float32)
    kernel = np.ones((1, 1, 1, 4), np.float32) if depthwise else np.eye(4, dtype=np.float32)[None, None]
    _, mean, variance = fused(form, jnp.asarray(x), jnp.asarray(kernel), None, "none", depthwise=depthwise)
    np.testing.assert_allclose(variance, x.astype(np.float64).var((0, 1, 2)), rtol=2e-5)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean((0, 1, 2)), atol=1e-5)


@NATIVE
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_gradients_at_the_corners_of_activations(act):
    x = jnp.asarray([-3.0, -0.5, 3.0, 7.0]).reshape(1, 1, 4, 1)
    fold = Fold(jnp.zeros(1), jnp.ones(1), jnp.zeros(1), act, jnp.full(1, 0.25))
    found = jax.grad(lambda x: jnp.sum(ops.fused_conv(x, jnp.ones((1, 1, 1, 1)), fold)[0]))(x)
    np.testing.assert_allclose(found, jax.grad(lambda x: jnp.sum(ops.apply_fold(x, fold)))(x), atol=1e-6)


@NATIVE
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_fold_may_have_another_dtype(dtype):
    fold = Fold(jnp.full(4, 0.5, dtype), jnp.full(4, 2.0, dtype), jnp.full(4, 1.0, dtype), "relu")
    y, moments = jax.jit(lambda x: ops.fused_conv(x, jnp.ones((1, 1, 4, 4)), fold))(jnp.ones((1, 2, 2, 4)))
    assert moments is not None
    np.testing.assert_allclose(y, 8.0)
    np.testing.assert_allclose(moments.mean, 8.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("shape", [(0, 4, 4, 5), (2, 1, 1, 5)])
def test_empty_batches_and_single_positions(form, depthwise, shape):
    kernel = jnp.ones((3, 3, 1 if depthwise else 5, 10))
    vectors = [jnp.ones(5)] * 4

    def ours(x, kernel):
        return fused(form, x, kernel, vectors, "relu", depthwise=depthwise)

    (y, *_), (dx, dkernel) = pulled(ours, (jnp.ones(shape), kernel), [jnp.ones((*shape[:3], 10)), *[jnp.zeros(10)] * 2])
    assert (y.shape, dx.shape, dkernel.shape) == ((*shape[:3], 10), shape, kernel.shape)
    assert shape[0] or not np.any(dkernel)


def gradient(x, kernel):
    """Return the gradient of the squares of a folded convolution by its input."""
    fold = Fold(jnp.full(8, 0.1), jnp.full(8, 0.5), jnp.full(8, 0.2), "relu")

    def total(x):
        y, moments = ops.fused_conv(x, kernel, fold)
        assert moments is not None
        return jnp.sum(y.astype(jnp.float32) ** 2) + jnp.sum(moments.variance) + jnp.sum(moments.mean)

    return jax.grad(total)(x)


TRANSFORMATIONS = {
    "jit": lambda f, x: jax.jit(f)(x),
    "vmap": lambda f, x: jax.vmap(f)(x[None])[0],
    "pmap": lambda f, x: jax.pmap(f, devices=jax.devices()[:8])(jnp.stack([x] * 8))[7],
    "scan": lambda f, x: jax.lax.scan(lambda total, one: (total, f(one)), 0.0, x[None])[1][0],
    "remat": lambda f, x: jax.checkpoint(f)(x),
}


@NATIVE
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_native_gradients_under_transformations(name):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 6, 6, 8), (3, 3, 8, 12)))
    found = TRANSFORMATIONS[name](lambda x: gradient(x, kernel), x)
    with ops.for_another_machine():
        expected = gradient(x, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@NATIVE
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_second_gradients_are_those_of_the_plain_form(dtype, tolerance):
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), dtype) for shape in ((2, 6, 6, 8), (3, 3, 8, 12)))

    def second(x):
        return jax.grad(lambda x: jnp.sum(gradient(x, kernel) ** 2))(x)

    found = jax.jit(second)(x).astype(jnp.float32)
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
    with ops.for_another_machine():
        expected = jax.grad(lambda x: jnp.sum(plain_gradient(x, kernel) ** 2))(x)
    np.testing.assert_allclose(found, expected, atol=tolerance * float(jnp.abs(expected).max()))


def plain_gradient(x, kernel):
    """Return what `gradient` does, from operations that can be differentiated any number of times."""

    def total(x):
        vectors = [jnp.full(8, v) for v in (0.1, 0.5, 0.2, 0.0)]
        y, mean, variance = definition(
            x, kernel, vectors, "relu", 1, False, strides=(1, 1), padding="TORCH", dilation=(1, 1)
        )
        return jnp.sum(y**2) + jnp.sum(variance) + jnp.sum(mean)

    return jax.grad(total)(x)


@NATIVE
def test_a_program_that_travels_holds_no_native_call():
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 8, 8, 4), (3, 3, 4, 4))]
    with ops.for_another_machine():
        program = jax.export.export(jax.jit(lambda x, k: ops.fused_conv(x, k)[0]), platforms=["cpu", "tpu"])(*shapes)
    assert "jsep_" not in program.mlir_module()
    assert "jsep_" in jax.jit(lambda x, k: ops.fused_conv(x, k)[0]).lower(*shapes).as_text()


@NATIVE
@pytest.mark.parametrize("depthwise", [False, True])
def test_the_same_call_gives_the_same_bits(depthwise):
    """Whichever threads have time for its parts, so that a run that is stopped and resumed ends as one that is not."""
    x = jax.random.normal(jax.random.key(0), (16, 16, 16, 32))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 1 if depthwise else 32, 32))
    vectors = [jnp.linspace(0.5, 1.0, 32)] * 4

    @jax.jit
    def call(x, kernel, vectors):
        return pulled(
            lambda x, kernel, vectors: fused("native", x, kernel, vectors, "relu", depthwise=depthwise),
            (x, kernel, vectors),
            (x, x[0, 0, 0], x[0, 0, 1]),
        )

    first = jax.tree.leaves(call(x, kernel, vectors))
    for _ in range(20):
        for ours, theirs in zip(jax.tree.leaves(call(x, kernel, vectors)), first, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@NATIVE
def test_two_threads_at_once():
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((8, 16, 16, 8), (3, 3, 8, 12)))
    compiled = jax.jit(gradient)
    expected, found = compiled(x, kernel), []

    def many():
        found.extend(compiled(x, kernel) for _ in range(20))

    threads = [threading.Thread(target=many) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    for one in found:
        np.testing.assert_array_equal(one, expected)
