"""Kernel sharing. There is no public code, so identities serve as the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import ops
from jsep.costs import count
from jsep.layers import (
    Conv,
    GroupSum,
    KernelSharingConv,
    PairWeightedKernelSharingConv,
    SharedSeparableConv,
    WeightedKernelSharingConv,
    spatial_conv,
)

C, G, M = 12, 4, 10


@pytest.fixture
def x():
    with jax.enable_x64(True):
        yield jnp.asarray(np.random.default_rng(1).normal(size=(2, 7, 6, C)))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kernel_size", "strides", "groups"), [(3, 1, G), (5, 2, 1), (1, 1, 6), (3, 2, C)])
def test_the_fast_form_is_the_convolution_with_the_expanded_kernel(
    drawn, x, interleaved, weighted, kernel_size, strides, groups
):
    layer = KernelSharingConv(M, groups, kernel_size, strides, interleaved=interleaved, weighted=weighted)

    @jax.jit
    def both(variables, x):
        params = variables["params"]
        weights = params["sum"]["weight"] if weighted else None
        full = ops.expand_shared_kernel(params["conv"]["kernel"], C, weights, interleaved=interleaved)
        assert full.shape == (kernel_size, kernel_size, C, M)
        return layer.apply(variables, x), ops.conv(x, full, strides=strides)

    np.testing.assert_allclose(*both(drawn(layer, x.shape, dtype="float64"), x), rtol=1e-11, atol=1e-11)


def test_as_many_groups_as_channels_are_the_plain_convolution(drawn, x):
    layer = KernelSharingConv(M, C, 3, 2)
    variables = drawn(layer, x.shape, dtype="float64")
    plain = jax.jit(Conv(M, 3, 2, use_bias=False).apply)({"params": variables["params"]["conv"]}, x)
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), plain, rtol=1e-12)


def test_unit_weights_change_nothing(drawn, x):
    layer, weighted = KernelSharingConv(M, G), WeightedKernelSharingConv(M, G)
    params = drawn(layer, x.shape, dtype="float64")["params"]
    ones = {**params, "sum": {"weight": np.ones(C)}}
    found = jax.jit(weighted.apply)({"params": ones}, x)
    np.testing.assert_array_equal(found, jax.jit(layer.apply)({"params": params}, x))


def test_weighting_is_a_grouped_pointwise_convolution_before_the_plain_one(drawn, x):
    layer = WeightedKernelSharingConv(M, G)
    variables = drawn(layer, x.shape, dtype="float64")

    @jax.jit
    def both(variables, x):
        grouped = variables["params"]["sum"]["weight"].reshape(G, C // G).T[None, None]  # (1, 1, c / groups, groups)
        summed = ops.conv(x, grouped, groups=G)
        return layer.apply(variables, x), ops.conv(summed, variables["params"]["conv"]["kernel"])

    np.testing.assert_allclose(*both(variables, x), rtol=1e-11, atol=1e-11)


def test_the_gauge_changes_nothing(drawn, x):
    """Multiply a group's weights by t, and divide its kernels by t."""
    layer = WeightedKernelSharingConv(M, G)
    params = drawn(layer, x.shape, dtype="float64")["params"]
    t = np.asarray([2.0, 0.5, -3.0, 7.0])
    other = {
        "sum": {"weight": params["sum"]["weight"] * np.repeat(t, C // G)},
        "conv": {"kernel": params["conv"]["kernel"] / t.reshape(1, 1, G, 1)},
    }
    apply = jax.jit(layer.apply)
    np.testing.assert_allclose(apply({"params": other}, x), apply({"params": params}, x), rtol=1e-10)


def test_gradient_of_the_weights_by_finite_differences(drawn, x):
    layer = WeightedKernelSharingConv(M, G, strides=2)
    params, apply = drawn(layer, x.shape, dtype="float64")["params"], jax.jit(layer.apply)

    def loss(weights):
        return jnp.sum(jnp.sin(apply({"params": {**params, "sum": {"weight": weights}}}, x)))

    weights, step = params["sum"]["weight"], 1e-6
    losses = jax.jit(jax.vmap(loss))(np.stack([weights + step * np.eye(C), weights - step * np.eye(C)]).reshape(-1, C))
    differences = np.subtract(*losses.reshape(2, C)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(weights), differences, rtol=1e-6)


def test_a_weight_for_each_pair_contains_a_weight_for_each_channel(drawn, x):
    layer = WeightedKernelSharingConv(M, G)
    params = drawn(layer, x.shape, dtype="float64")["params"]
    pair = {
        "kernel": params["conv"]["kernel"],
        "weight": np.repeat(params["sum"]["weight"][:, None], M, 1),
    }
    found = jax.jit(PairWeightedKernelSharingConv(M, G).apply)({"params": pair}, x)
    np.testing.assert_allclose(found, jax.jit(layer.apply)({"params": params}, x), rtol=1e-10)


def test_the_shared_separable_convolution_shares_both_of_its_parts(drawn, x):
    """Form B equals a separable convolution with the depthwise kernels and pointwise rows of its groups."""
    layer = SharedSeparableConv(M, G)
    variables = drawn(layer, x.shape, dtype="float64")
    params = variables["params"]
    depthwise = np.repeat(params["depthwise"]["kernel"], C // G, -1) * params["sum"]["weight"].reshape(1, 1, 1, C)
    pointwise = np.repeat(params["pointwise"]["kernel"], C // G, 2)
    composed = jax.jit(lambda x, first, then: ops.pointwise_conv(ops.depthwise_conv(x, first), then))
    np.testing.assert_allclose(
        jax.jit(layer.apply)(variables, x), composed(x, depthwise, pointwise), rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize(
    ("layer", "params", "macs"),
    [
        (KernelSharingConv(256, 64), 147_456, 147_456 * 196),
        (WeightedKernelSharingConv(256, 64), 147_712, 147_712 * 196),
        (SharedSeparableConv(256, 64), 17_216, 17_216 * 196),
        (SharedSeparableConv(256, 64, form="A"), 256 * 9 + 256 + 64 * 256, (256 * 9 + 256 + 64 * 256) * 196),
        (PairWeightedKernelSharingConv(256, 64), 256 * 256 + 147_456, (256 * 256 + 147_456) * 196),
        (SharedSeparableConv(256, 64, inner="bn_relu"), 17_216 + 2 * 64, 17_216 * 196),
    ],
)
def test_counts(layer, params, macs):
    table = count(layer, (14, 14, 256))
    assert (table.params, table.macs, table.unknown) == (params, macs, ())


def test_groups_that_do_not_divide_are_refused():
    x = jnp.ones((1, 4, 4, 10))
    for layer in (GroupSum(4), PairWeightedKernelSharingConv(3, 4)):
        with pytest.raises(ValueError, match="groups=4 must divide the 10 input channels"):
            layer.init(jax.random.key(0), x)


def test_a_convolution_that_cannot_share_says_that_it_is_dense():
    import flax.linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            init = nn.initializers.lecun_normal()
            return spatial_conv("ksc", 10, 8, sharing=4, kernel_init=init, name="conv")(x)

    with pytest.warns(UserWarning, match="conv: sharing=4 does not divide its 10 channels; no kernels are shared"):
        variables = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((1, 4, 4, 10)))
    assert variables["params"]["conv"]["kernel"].shape == (3, 3, 10, 8)


def test_he_with_the_fan_in_of_all_channels():
    variables = jax.jit(KernelSharingConv(4096, 4).init)(jax.random.key(0), jnp.ones((1, 3, 3, 64)))
    kernel = variables["params"]["conv"]["kernel"]
    assert np.var(kernel) == pytest.approx(2 / (9 * 64), rel=0.02)
