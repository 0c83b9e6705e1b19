"""One step in bfloat16 on two devices: the loss is finite and every parameter gets a gradient.

Small networks of all families, of which those that compile quickly run every day; with JSEP_EVERY_MODEL=1 every
registered name at its published size.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import create_model, list_models, model_info

EVERYDAY = [
    ("resnet20", {"depth": 8, "attention": "se"}),
]
SMALL = [
    ("mobilenet_v1_shallow", {"width": 0.0625}),
    ("both_cnn", {"width": 0.0625}),
    ("keras_separable_cnn", {"width": 0.0625}),
    ("densenet40_k12", {"depth": 7, "dropout": 0.2}),
    ("addressnet20", {"depth": 8}),
    ("mobilenet_v1_full_conv", {"width": 0.0625, "act": "relu6", "padding": "SAME", "input": "cifar"}),
    ("se_sdensenet100_k12_bc", {"depth": 10}),
    ("sresnet164", {"depth": 11, "shortcut": "projection", "attention": "se"}),
    ("preresnet110", {"depth": 8}),
    ("spyramidnet164_a48", {"depth": 11, "alpha": 6}),
    ("vgg16_bn", {"width": 0.0625, "conv": "wksc_separable"}),
    ("resnet18", {"width": 0.125, "input": "cifar", "conv": "wksc", "attention": "eca"}),
    ("eca_mobilenet_v2", {"width": 0.35, "input": "cifar"}),
    ("enhanced_addressnet20", {"depth": 8, "shift": "address"}),
    ("mobilenet_v3_small", {"width": 0.25, "input": "cifar"}),
    ("antnet_g2", {"width": 0.35, "input": "cifar"}),
    ("resnet50", {"width": 0.0625, "attention": "se"}),
    ("shufflenet_v2_x0_5", {"input": "cifar"}),
    ("dicenet_x0_2", {"input": "cifar"}),
    ("mixnet_s", {"width": 0.25, "input": "cifar"}),
    ("mobilenet_v1_025", {"conv": "dice", "input": "cifar"}),
    ("resnet18", {"width": 0.125, "input": "cifar", "conv": "dice"}),
    ("shufflenet_v2_x0_5", {"input": "cifar", "conv": "dice", "units": "authors"}),
    ("xception", {"input": "cifar", "jft_head": True, "inner_activation": "elu", "residual": False}),
]
LATER = [(name, {}) for name in list_models(task="classification")] if os.environ.get("JSEP_EVERY_MODEL") else SMALL
CASES = [*EVERYDAY, *(pytest.param(*case, marks=pytest.mark.slow) for case in LATER)]
SIZES = {32: 32, 64: 64, 224: 64, 299: 96}  # published size: smallest size that leaves every stage a map
DEVICES = 2


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_parameter_gets_a_gradient(name, options):
    model = create_model(name, num_classes=4, dtype=jnp.bfloat16, axis_name="batch", **options)
    cifar = options.get("input") == "cifar"
    size = 32 if cifar else SIZES[model_info(name).input_shape[0]]
    rng = np.random.default_rng(0)
    # saves the compilation of model.init
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    variables = jax.tree_util.tree_map_with_path(lambda path, s: _drawn(rng, path, s), shapes)
    x = rng.normal(size=(DEVICES, 2, size, size, 3)).astype(np.float32)

    def step(variables, x):
        def loss_of(params):
            logits, updates = model.apply(
                {**variables, "params": params},
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(2)},
            )
            return -jax.nn.log_softmax(logits)[:, 0].mean(), updates

        grads, updates = jax.grad(loss_of, has_aux=True)(variables["params"])
        largest = jax.tree.map(lambda g: jnp.abs(g).max(), jax.lax.pmean(grads, "batch"))
        return largest, updates

    largest, updates = jax.pmap(step, axis_name="batch", in_axes=(None, 0), out_axes=None)(variables, x)
    for path, value in jax.tree_util.tree_leaves_with_path(largest):
        assert np.isfinite(value), jax.tree_util.keystr(path)
        assert value > 0, jax.tree_util.keystr(path)
    for path, value in jax.tree_util.tree_leaves_with_path(updates):
        assert np.isfinite(value).all(), jax.tree_util.keystr(path)


def _drawn(rng, path, leaf):
    """Initialise kernels by He's rule, and scales, variances and weights with ones."""
    if path[-1].key == "kernel":
        return rng.normal(size=leaf.shape, scale=(2 / np.prod(leaf.shape[:-1])) ** 0.5).astype(np.float32)
    return np.full(leaf.shape, path[-1].key in ("scale", "var", "weight", "slope"), np.float32)
