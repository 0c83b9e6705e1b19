"""Layers against `flax.linen`'s with the same parameters."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import create_model, layers, ops
from jsep.errors import UserError

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 7, 4)), jnp.float32)
PAD = ((1, 1), (1, 1))

PAIRS = {
    "conv": (layers.Conv(6, strides=2), nn.Conv(6, (3, 3), 2, padding=PAD)),
    "grouped": (layers.Conv(6, groups=2), nn.Conv(6, (3, 3), padding=PAD, feature_group_count=2)),
    "dilated": (
        layers.Conv(6, dilation=2, padding="VALID"),
        nn.Conv(6, (3, 3), padding="VALID", kernel_dilation=2),
    ),
    "pointwise": (layers.PointwiseConv(6, strides=2), nn.Conv(6, (1, 1), 2)),
    "depthwise": (layers.DepthwiseConv(strides=2), nn.Conv(4, (3, 3), 2, padding=PAD, feature_group_count=4)),
    "multiplier": (
        layers.DepthwiseConv(5, padding="SAME", multiplier=2, use_bias=False),
        nn.Conv(8, (5, 5), padding="SAME", feature_group_count=4, use_bias=False),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_layer_is_flax_conv_with_the_same_checkpoint(drawn, name):
    ours, theirs = PAIRS[name]
    variables = drawn(theirs, X.shape)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(ours.init, jax.random.key(0), X))
    assert shapes == jax.tree.map(jnp.shape, variables)
    found, expected = jax.jit(lambda v, x: (ours.apply(v, x), theirs.apply(v, x)))(variables, X)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_separable_is_depthwise_then_pointwise(drawn):
    variables = drawn(layers.SeparableConv(6, strides=2), X.shape)
    assert set(variables["params"]) == {"depthwise", "pointwise"}
    assert set(variables["params"]["depthwise"]) == {"kernel"}  # only the pointwise part has a bias

    @jax.jit
    def both(variables, x):
        depthwise, pointwise = ({"params": variables["params"][part]} for part in ("depthwise", "pointwise"))
        y = layers.DepthwiseConv(strides=2, use_bias=False).apply(depthwise, x)
        return layers.SeparableConv(6, strides=2).apply(variables, x), layers.PointwiseConv(6).apply(pointwise, y)

    np.testing.assert_allclose(*both(variables, X), atol=1e-5)


def test_batch_norm_is_that_of_flax(drawn):
    ours, theirs = layers.BatchNorm(0.8, 1e-3), nn.BatchNorm(momentum=0.8, epsilon=1e-3)
    variables = drawn(ours, X.shape, train=True)

    @jax.jit
    def both(variables, x):
        found, our_updates = ours.apply(variables, x, train=True, mutable=["batch_stats"])
        expected, updates = theirs.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
        learned = {**variables, **our_updates}
        evaluated = ours.apply(learned, x, train=False), theirs.apply(learned, x, use_running_average=True)
        return (found, expected), (our_updates, updates), evaluated

    trained, updates, evaluated = both(variables, X)
    np.testing.assert_allclose(*trained, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *updates)
    np.testing.assert_allclose(*evaluated, atol=1e-5)


def test_a_frozen_batch_norm_is_one_that_evaluates_and_has_nothing_to_train(drawn):
    frozen, trained = layers.FrozenBatchNorm(epsilon=1e-3), layers.BatchNorm(epsilon=1e-3)
    variables = drawn(frozen, X.shape, train=True)
    assert list(variables) == ["batch_stats"]
    held = variables["batch_stats"]
    split = {
        "params": {name: held[name] for name in ("scale", "bias")},
        "batch_stats": {name: held[name] for name in ("mean", "var")},
    }

    @jax.jit
    def both(variables, split, x):
        found, updates = frozen.apply(variables, x, train=True, mutable=["batch_stats"])
        return (found, trained.apply(split, x, train=False)), updates

    same, updates = both(variables, split, X)
    np.testing.assert_array_equal(*same)
    jax.tree.map(np.testing.assert_array_equal, updates, variables)


def test_group_norm_is_that_of_flax(drawn):
    ours, theirs = layers.GroupNorm(2), nn.GroupNorm(2, epsilon=1e-5, use_fast_variance=False)
    variables = drawn(ours, X.shape)
    found, wanted = jax.jit(lambda v, x: (ours.apply(v, x + 5), theirs.apply(v, x + 5)))(variables, X)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    half = jax.eval_shape(layers.GroupNorm(2, dtype=jnp.bfloat16).apply, variables, X)
    assert half.dtype == jnp.bfloat16


def test_an_l2_norm_has_a_length_of_1_and_a_gradient_at_0():
    x = X.at[0, 0, 0].set(0)
    norm = layers.L2Norm(nn.initializers.constant(20.0))
    run = jax.jit(jax.value_and_grad(lambda x: norm.init_with_output(jax.random.key(0), x)[0].sum(), has_aux=False))
    total, gradient = run(x)
    lengths = np.linalg.norm(x, axis=-1, keepdims=True)
    np.testing.assert_allclose(total, (20 * x / np.where(lengths > 0, lengths, 1)).sum(), rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_initialising_leaves_the_running_statistics_alone():
    variables = jax.jit(partial(layers.BatchNorm().init, train=True))(jax.random.key(0), X + 5)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(4))


class Normed(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        return layers.BatchNorm(axis_name=self.axis_name, name="head_norm")(x, train=train)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_a_single_value_for_each_channel_is_refused_in_training(shape):
    x, sentence = jnp.ones(shape), "head_norm has 1 value for each channel to normalise in training"
    with pytest.raises(UserError, match=sentence):
        Normed().init(jax.random.key(0), x, train=True)
    variables = Normed().init(jax.random.key(0), x, train=False)
    with pytest.raises(UserError, match=sentence):
        Normed().apply(variables, x, train=True, mutable=["batch_stats"])
    evaluated: Any = Normed().apply(variables, x, train=False)
    assert evaluated.shape == shape


def test_values_are_counted_over_all_devices():
    def train(x):
        return Normed("batch").apply(variables, x, train=True, mutable=["batch_stats"])[0]

    x = jnp.ones((2, 1, 3))
    variables = Normed("batch").init(jax.random.key(0), x[0], train=True)
    assert jax.vmap(train, axis_name="batch")(x).shape == x.shape
    with pytest.raises(UserError, match="head_norm has 1 value"):
        jax.vmap(train, axis_name="batch")(x[:1])


def test_depthwise_kernels_are_drawn_with_the_fan_of_their_group():
    x = jnp.ones((1, 4, 4, 512))
    kernel = jax.jit(layers.DepthwiseConv().init)(jax.random.key(0), x)["params"]["kernel"]
    np.testing.assert_allclose(np.std(kernel), 1 / 3, rtol=0.05)  # 1 / sqrt(3 * 3)


def test_keras_draws_depthwise_kernels_with_both_fans_of_its_own_layout():
    kernel = layers.keras_glorot_depthwise(jax.random.key(0), (3, 3, 1, 512))
    limit = (6 / (9 * 513)) ** 0.5
    assert float(jnp.abs(kernel).max()) <= limit
    np.testing.assert_allclose(kernel.std(), limit / 3**0.5, rtol=0.05)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters():
    layer = layers.SeparableConv(6, dtype=jnp.bfloat16)
    found, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), X)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert found.dtype == jnp.bfloat16


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="groups=3"):
        layers.Conv(6, groups=3).init(jax.random.key(0), X)


def test_squeeze_and_excitation_scales_channels_by_their_gates(drawn):
    layer, x = layers.SqueezeExcite(ratio=16, min_width=2), np.asarray(X)
    variables = drawn(layer, X.shape)
    reduce, expand = (variables["params"][name] for name in ("reduce", "expand"))
    assert reduce["kernel"].shape == (4, 2)
    hidden = np.maximum(x.mean((1, 2)) @ reduce["kernel"] + reduce["bias"], 0)
    gates = 1 / (1 + np.exp(-(hidden @ expand["kernel"] + expand["bias"])))
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, X), x * gates[:, None, None, :], rtol=1e-5)


def test_between_the_parts_of_a_separable_convolution(drawn):
    layer = layers.SeparableConv(6, inner="bn_relu", use_bias=False)
    variables = drawn(layer, X.shape)

    @jax.jit
    def both(variables, x):
        params, stats = variables["params"], variables["batch_stats"]["norm"]
        y = layers.DepthwiseConv(use_bias=False).apply({"params": params["depthwise"]}, x)
        norm = jax.jit(partial(layers.BatchNorm().apply, train=False))
        y = nn.relu(norm({"params": params["norm"], "batch_stats": stats}, y))
        expected = layers.PointwiseConv(6, use_bias=False).apply({"params": params["pointwise"]}, y)
        return layer.apply(variables, x), expected

    np.testing.assert_allclose(*both(variables, X), atol=1e-5)


def test_efficient_channel_attention_by_its_definition():
    kernel = np.asarray([0.5, -1.0, 2.0], np.float32)
    layer = layers.EfficientChannelAttention(3)
    found = jax.jit(layer.apply)({"params": {"conv": {"kernel": kernel.reshape(3, 1, 1)}}}, X)
    means = np.pad(np.asarray(X).mean((1, 2)), ((0, 0), (1, 1)))  # neighbouring channels, zeros outside
    gate = 1 / (1 + np.exp(-sum(kernel[i] * means[:, i : i + 4] for i in range(3))))
    np.testing.assert_allclose(found, np.asarray(X) * gate[:, None, None], rtol=1e-5, atol=1e-6)


def test_parts_of_the_channels_have_kernels_of_their_own_size(drawn):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 7, 7, 8)), jnp.float32)
    layer = layers.MixedDepthwiseConv((3, 5, 7), 2)
    variables = drawn(layer, x.shape)
    kernels = {name: part["kernel"].shape for name, part in variables["params"].items()}
    assert kernels == {"part1": (3, 3, 1, 4), "part2": (5, 5, 1, 2), "part3": (7, 7, 1, 2)}  # 8 = 4 + 2 + 2
    parts = ((3, slice(0, 4), "part1"), (5, slice(4, 6), "part2"), (7, slice(6, 8), "part3"))

    @jax.jit
    def both(variables, x):
        alone = [
            layers.DepthwiseConv(size, 2, use_bias=False).apply({"params": variables["params"][name]}, x[..., at])
            for size, at, name in parts
        ]
        return layer.apply(variables, x), alone

    found, alone = both(variables, x)
    np.testing.assert_allclose(found, np.concatenate(alone, -1), atol=1e-5)


def test_a_split_pointwise_convolution_is_a_grouped_one(drawn):
    layer = layers.SplitPointwiseConv(6, 2)
    params = drawn(layer, X.shape)["params"]
    kernel = np.concatenate([params["part1"]["kernel"], params["part2"]["kernel"]], -1)
    grouped = jax.jit(layers.Conv(6, 1, groups=2, use_bias=False).apply)({"params": {"kernel": kernel}}, X)
    np.testing.assert_allclose(jax.jit(layer.apply)({"params": params}, X), grouped, atol=1e-6)


def _reach(layer, channels, depth):
    """Measure the mean share of input channels that an output sees after 1, 2, ... layers."""
    x, shares = np.eye(channels, dtype=np.float32)[:, None, None], []  # an image for each input channel
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    apply = jax.jit(layer.apply)
    for _ in range(depth):
        x = (np.asarray(apply(ones, x)) > 0).astype(np.float32)
        shares.append(float(x.mean()))
    return shares


@pytest.mark.parametrize(
    ("groups", "order", "shares"),
    [
        (4, "block", [0.25, 0.375, 0.5, 0.625, 0.75, 0.875]),
        (4, "cyclic", [0.25, 1, 1]),
        (2, "block", [0.5, 0.75, 1]),
        (2, "cyclic", [0.5, 1]),
        (8, "block", [0.125, 0.1875, 0.25]),
        (8, "cyclic", [0.125, 0.5625, 1]),
    ],
)
def test_reach_of_rolling_pointwise_convolution(groups, order, shares):
    layer = layers.RollingPointwiseConv(64, groups, 0.5, order)
    assert _reach(layer, 64, len(shares)) == pytest.approx(shares)
    params = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 1, 1, 64)))["params"]
    assert params["kernel"].size == 64 * 64 // groups


def test_groups_alone_reach_no_further():
    assert _reach(layers.Conv(64, 1, groups=4, use_bias=False), 64, 3) == [0.25, 0.25, 0.25]


def test_rolling_pointwise_convolution_by_its_windows(drawn):
    """Four channels in windows of 2 that advance by 1 and wrap around: 0 1, 1 2, 2 3, 3 0."""
    layer = layers.RollingPointwiseConv(8, 2, 0.5)
    params, x = drawn(layer, X.shape)["params"], np.asarray(X)
    windows = [[0, 1], [1, 2], [2, 3], [3, 0]]
    blocks = [x[..., window] @ params["kernel"][i] for i, window in enumerate(windows)]
    np.testing.assert_allclose(jax.jit(layer.apply)({"params": params}, X), np.concatenate(blocks, -1), atol=1e-5)


def test_rolling_pointwise_convolution_that_cannot_roll():
    with pytest.warns(UserWarning, match="groups=3 does not divide 4 channels; it is dense"):
        variables = jax.eval_shape(layers.RollingPointwiseConv(6, 3).init, jax.random.key(0), X)
    assert variables["params"]["kernel"].shape == (1, 4, 6)
    with pytest.raises(ValueError, match="4 windows must divide the 6 features"):
        layers.RollingPointwiseConv(6, 2).init(jax.random.key(0), X)


def test_stochastic_depth_leaves_out_whole_branches_of_examples():
    layer = layers.StochasticDepth(0.25)
    x = jnp.ones((2000, 2, 2, 3))
    y = np.asarray(jax.jit(lambda x: layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)}))(x))
    kept = y[:, 0, 0, 0] > 0
    np.testing.assert_allclose(y, np.where(kept[:, None, None, None], np.asarray(x) / 0.75, 0), rtol=1e-3)
    assert kept.mean() == pytest.approx(0.75, abs=0.04)
    np.testing.assert_array_equal(layer.apply({}, x, train=False), x)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"width": 0.125}),
        ("resnet20", {"depth": 8}),
        ("mobilenet_v2", {"width": 0.25}),
        pytest.param("mobilenet_v3_small", {"width": 0.25}, marks=pytest.mark.slow),
        pytest.param("mixnet_s", {"width": 0.25}, marks=pytest.mark.slow),
    ],
)
def test_every_residual_family_has_it(name, options):
    model, rates = create_model(name, num_classes=2, stochastic_depth=0.5, **options), []

    def note(layer, call, *args, **kwargs):
        rates.append(layer.rate)
        return call(*args, **kwargs)

    with layers.watch(note, layers.StochasticDepth):
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] <= 0.5


@pytest.mark.parametrize("mode", ["zero", "address"])
def test_a_convolution_of_shifted_maps(mode):
    """Compiled or not: with native kernels, a compiled one is fused with its neighbours."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 12))
    layer = layers.Conv(9, 1, groups=3, shift=ops.Shift(2, mode), use_bias=False)
    variables = layer.init(jax.random.key(1), x)
    plain: Any = layers.Conv(9, 1, groups=3, use_bias=False)
    expected = plain.apply(variables, ops.address_shift(ops.channel_shift(x, 2), mode=mode))
    for apply in (layer.apply, jax.jit(layer.apply)):
        found: Any = apply(variables, x)
        np.testing.assert_allclose(found, expected, atol=1e-5)
