"""Batch norms folded into convolutions: the same logits, fewer operations."""

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import ops
from jsep.compress import apply_folded, fold_batch_norms
from jsep.layers import BatchNorm, Conv
from jsep.models import create_model
from jsep.models.factored import factored

SHAPE = (16, 16, 3)
# network: number of all batch norms, and of those fed by a convolution only
NETWORKS = {
    "mobilenet_v1_025 input=cifar": (27, 27),
    "shufflenet_v2_x0_5 input=cifar": (56, 56),
    "resnet20 depth=8": (7, 7),
    "densenet100_k12_bc depth=10": (9, 3),  # after a concatenation or a pooling there is nothing to fold into
    "both_cnn width=0.02": (3, 0),  # there is a ReLU before each
}


def primitives(function, *args) -> Counter:
    with ops.portable_operations():
        return Counter(equation.primitive.name for equation in jax.make_jaxpr(function)(*args).eqns)


def images(shape=SHAPE):
    return jnp.asarray(np.random.default_rng(1).normal(size=(2, *shape)), jnp.float32)


@pytest.mark.parametrize("text", NETWORKS)
def test_a_folded_network_gives_the_same_logits_with_fewer_operations(trained, text):
    model, variables = trained(text, SHAPE)
    folded, pairs = fold_batch_norms(model, variables, SHAPE)
    norms, foldable = NETWORKS[text]
    assert len(pairs) == foldable

    def live(variables, x):
        return model.apply(variables, x, train=False)

    def inference(variables, x):
        return apply_folded(model, variables, x)

    x = images()
    with ops.portable_operations():  # quicker to compile
        expected, found = jax.jit(live)(variables, x), jax.jit(inference)(folded, x)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    before, after = primitives(live, variables, x), primitives(inference, folded, x)
    assert before["rsqrt"] == norms
    assert after["rsqrt"] == 0
    assert before["mul"] - after["mul"] == norms + foldable
    assert before["conv_general_dilated"] == after["conv_general_dilated"]


def test_frozen_batch_norms_are_folded_as_others(drawn):
    model = create_model("resnet20", depth=8).clone(frozen_norm=True)  # pyright: ignore[reportCallIssue]
    variables = drawn(model, (1, *SHAPE))
    folded, pairs = fold_batch_norms(model, variables, SHAPE)
    assert (len(pairs), folded["batch_stats"]) == (7, {})
    expected = jax.jit(model.apply)(variables, images())
    found = jax.jit(lambda folded, x: apply_folded(model, folded, x))(folded, images())
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_what_stands_in_for_a_convolution_is_folded_by_its_own_parts():
    model = factored(create_model("resnet20", depth=8), ["stage2_block1_conv2=separable"])
    x = jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    _, pairs = fold_batch_norms(model, variables, SHAPE)
    assert pairs["stage2_block1_conv2/depthwise"] == "stage2_block1_conv2/norm"
    assert pairs["stage2_block1_conv2/pointwise"] == "stage2_block1_conv2_norm"
    assert len(pairs) == 8


class Net(nn.Module):
    """A convolution with a batch norm; the convolution may be applied twice, or its output used elsewhere."""

    bias: bool = False
    looked_at: bool = False
    twice: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        conv, norm = Conv(3, use_bias=self.bias, name="conv"), BatchNorm(name="norm")
        y = conv(conv(x)) if self.twice else conv(x)
        z = norm(y, train=train)
        return (z + y if self.looked_at else z).mean((1, 2))


@pytest.mark.parametrize(
    ("net", "pairs", "left"),
    [
        (Net(), {"conv": "norm"}, {"conv": ["kernel"], "norm": ["bias"]}),
        (Net(bias=True), {"conv": "norm"}, {"conv": ["bias", "kernel"]}),
        (Net(looked_at=True), {}, {"conv": ["kernel"], "norm": ["bias", "scale"]}),
        (Net(twice=True), {}, {"conv": ["kernel"], "norm": ["bias", "scale"]}),
    ],
    ids=["alone", "with a bias", "its output is used elsewhere", "called twice"],
)
def test_only_what_a_batch_norm_alone_takes_is_folded(net, pairs, left):
    x = images((8, 8, 3))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), jnp.float32),
        net.init(jax.random.key(0), x, train=False),
    )
    folded, found = fold_batch_norms(net, variables, (8, 8, 3))
    assert found == pairs
    assert {layer: sorted(names) for layer, names in folded["params"].items()} == left
    expected = net.apply(variables, x, train=False)
    assert np.abs(apply_folded(net, folded, x) - expected).max() <= 1e-5 * np.abs(expected).max()
