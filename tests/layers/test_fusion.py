"""Networks whose batch norms and activations are fused into their convolutions, against the same layer by layer."""

import gc
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jsep import layers, native, ops
from jsep.layers import fusion
from jsep.layers.watch import path_of, watch

pytestmark = pytest.mark.skipif(not native.kernels(), reason="the native kernels are not built")


class Net(nn.Module):
    """Every way in which a convolution, a batch norm and an activation meet."""

    axis_name: str | None = None
    dtype: str | None = None

    @nn.compact
    def __call__(self, x, *, train=False):
        def conv_norm(x, conv, act):
            norm = layers.BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{conv.name}_norm")
            return layers.conv_norm(x, conv, norm, act, train=train)

        common = {"use_bias": False, "dtype": self.dtype}
        x = conv_norm(x, layers.Conv(8, 3, 2, name="stem", **common), nn.relu)
        x = conv_norm(x, layers.DepthwiseConv(3, name="depthwise", **common), nn.relu6)
        x = y = conv_norm(x, layers.PointwiseConv(12, name="expand", **common), nn.hard_swish)
        y = conv_norm(y, layers.DepthwiseConv(5, name="wide", **common), layers.PReLU(self.dtype, name="prelu"))
        y = conv_norm(y, layers.Conv(12, 3, groups=2, name="project", **common), None)
        x = conv_norm(x + y, layers.Conv(6, 3, name="biased", dtype=self.dtype), nn.silu)
        x = conv_norm(x, layers.SeparableConv(7, inner="bn_relu", name="separable", dtype=self.dtype), nn.relu)
        return nn.Dense(5, dtype=jnp.float32, name="classifier")(x.mean((1, 2)).astype(jnp.float32))


class Joined(nn.Module):
    """Maps that are joined, normalised together and read, as in a DenseNet."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train=False):
        def conv(x, features, name):
            with fusion.norm_follows(train):
                return layers.Conv(features, 3, use_bias=False, name=name)(x)

        def grown(x, number):
            norm = layers.BatchNorm(axis_name=self.axis_name, name=f"layer{number}_norm")
            y = conv(fusion.activate(nn.relu, norm(x, train=train)), 4, f"layer{number}")
            return fusion.concatenate([x, y])

        x = grown(grown(conv(x, 6, "stem"), 1), 2)
        x = layers.AvgPool(2, name="pool")(x)  # whose moments no convolution knows
        x = grown(grown(x, 3), 4)
        return nn.Dense(5, name="classifier")(x.mean((1, 2)))


def images(n=8):
    return jnp.asarray(np.random.default_rng(0).normal(size=(n, 8, 8, 3)), jnp.float32)


def trained(net, variables, x, axis_name=None):
    """Return loss, logits, statistics and gradients of a training step, and the logits in evaluation."""

    def loss_of(params, x):
        logits, updated = net.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(len(x)) % 5).mean()
        return loss, (logits, updated)

    (loss, rest), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables["params"], x)
    if axis_name:
        loss, gradients = jax.lax.pmean((loss, gradients), axis_name)
    return loss, rest, gradients, net.apply(variables, x)


def apart(function, *args):
    """Return what a function returns without native kernels."""
    with ops.for_another_machine():
        return jax.jit(function)(*args)


def assert_alike(found, expected, tolerance):
    for (path, one), other in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        scale = max(1e-2, float(jnp.abs(other).max()))
        error = float(jnp.abs(one - other).max()) / scale
        assert error < tolerance, (jax.tree_util.keystr(path), error)


@pytest.mark.parametrize("kind", [Net, Joined])
def test_a_fused_step_is_that_of_the_layers_one_by_one(drawn, kind):
    variables = drawn(kind(), (1, 8, 8, 3))
    found = jax.jit(lambda v, x: trained(kind(), v, x))(variables, images())
    assert_alike(found, apart(lambda v, x: trained(kind(), v, x), variables, images()), 2e-4)


def test_in_bfloat16_a_fused_step_is_as_near_to_that_of_float32(drawn):
    variables = drawn(Net(), (1, 8, 8, 3))
    exact = apart(lambda v, x: trained(Net(), v, x), variables, images())
    half = apart(lambda v, x: trained(Net(dtype="bfloat16"), v, x), variables, images())
    fused = jax.jit(lambda v, x: trained(Net(dtype="bfloat16"), v, x))(variables, images())

    def distance(found):
        pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
        return float(np.mean([jnp.linalg.norm(a - b) / (1e-3 + jnp.linalg.norm(b)) for a, b in pairs]))

    assert distance(fused) < 1.5 * distance(half)


@pytest.mark.parametrize("kind", [Net, Joined])
def test_moments_are_shared_over_eight_devices(drawn, kind):
    net, variables = kind(axis_name="batch"), jax.tree.map(jnp.asarray, drawn(kind(), (1, 8, 8, 3)))
    x = images(16).reshape(8, 2, 8, 8, 3)
    found = jax.pmap(lambda x: trained(net, variables, x, "batch"), "batch")(x)

    def over_all(x):
        with ops.for_another_machine():
            return jax.vmap(lambda x: trained(net, variables, x, "batch"), axis_name="batch")(x)

    assert_alike(found, jax.jit(over_all)(x), 2e-4)


class Twice(nn.Module):
    first: str

    @nn.compact
    def __call__(self, x):
        first = nn.relu if self.first == "relu" else layers.PReLU(name="first")
        x = layers.conv_norm(
            x, layers.Conv(4, name="conv", use_bias=False), layers.BatchNorm(name="norm"), first, train=False
        )
        return layers.Conv(4, name="next")(layers.PReLU(name="second")(x))


@pytest.mark.parametrize("first", ["relu", "prelu"])
def test_of_two_activations_in_a_row_both_are_applied(drawn, first):
    variables = drawn(Twice(first), (1, 8, 8, 3))
    found = jax.jit(Twice(first).apply)(variables, images())
    assert_alike(found, apart(Twice(first).apply, variables, images()), 1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_variables_may_have_another_dtype(drawn, dtype):
    variables = jax.tree.map(lambda v: jnp.asarray(v, dtype), drawn(Net(), (1, 8, 8, 3)))
    found = jax.jit(Net(dtype="float32").apply)(variables, images())
    assert_alike(found, apart(Net(dtype="float32").apply, variables, images()), 5e-2)


# convolutions with a bias do without
@pytest.mark.parametrize(("kind", "convolutions", "without"), [(Net, 8, 2), (Joined, 5, 0)])
def test_moments_are_summed_up_only_where_a_batch_norm_takes_them(drawn, kind, convolutions, without):
    variables = drawn(kind(), (1, 8, 8, 3))

    def train(variables, x):
        return kind().apply(variables, x, train=True, mutable=["batch_stats"])

    program = jax.jit(train).lower(variables, images()).compile().as_text()
    calls = [line for line in (program or "").splitlines() if 'custom_call_target="jsep_forward"' in line]
    moments = [line.split("custom-call(")[0].count("f32[3,0]") for line in calls]
    assert (len(moments), sum(moments)) == (convolutions, without)


def test_each_convolution_is_computed_once(drawn):
    variables = drawn(Net(), (1, 8, 8, 3))
    program = jax.jit(lambda v, x: trained(Net(), v, x)[:3]).lower(variables, images()).compile().as_text()
    calls = re.findall(r'custom_call_target="jsep_(\w+)"', program or "")
    assert calls.count("forward") == calls.count("backward") == 8


def test_watchers_see_normalised_maps(drawn):
    """A decomposition records the inputs of layers, which are not those of the batch norms before them."""
    variables = drawn(Net(), (1, 8, 8, 3))

    def inputs(x):
        seen = {}

        def note(layer, call, x):
            seen[path_of(layer)] = x
            return call(x)

        with watch(note, layers.Conv, layers.PointwiseConv, layers.DepthwiseConv):
            Net().apply(variables, x)
        return seen

    found = jax.jit(inputs)(images())
    assert len(found) == 8
    assert_alike(found, apart(inputs, images()), 1e-4)


def test_nothing_is_remembered_after_a_trace(drawn):
    variables = drawn(Net(), (1, 8, 8, 3))
    before = len(fusion._folded._held), len(fusion._moments._held)
    jax.jit(lambda v, x: trained(Net(), v, x)).lower(variables, images())
    gc.collect()
    assert (len(fusion._folded._held), len(fusion._moments._held)) == before
