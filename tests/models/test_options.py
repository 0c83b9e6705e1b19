"""Whatever value an option is given: either there is a network, or a sentence says what is possible."""

import contextlib
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import CLASSIFIERS

from jsep import create_model, list_models, model_info
from jsep.errors import UserError

# the smallest network of each family, and options that make it smaller still
FAMILIES = {
    "addressnet20": {"depth": 8},
    "addressnet_imagenet": {},
    "antnet_g2": {},
    "deeplabv3_mobilenet_v3": {},
    "densenet40_k12": {"depth": 7},
    "dicenet_segmentation_x0_2": {},
    "dicenet_ssd_x1_0": {"backbone": "mobilenet_v1_025"},
    "dicenet_x0_2": {},
    "fcn": {"backbone": "resnet18"},
    "inception_v3": {},
    "keras_separable_cnn": {},
    "lraspp": {},
    "mixnet_s": {},
    "mobilenet_v1_025": {},
    "mobilenet_v2_050": {},
    "mobilenet_v3_small": {},
    "pyramidnet110_a48": {"depth": 8},
    "resnet18": {},
    "resnet20": {"depth": 8},
    "retinanet": {"backbone": "resnet18"},
    "separable_cnn": {},
    "shufflenet_v2_x0_5": {},
    "ssd300": {"backbone": "mobilenet_v1_025"},
    "ssdlite320": {"backbone": "mobilenet_v3_small"},
    "vgg16_bn": {},
    "xception": {},
}
BAD = [0, -1, 1, 3, 7, 64, 10**12, -0.5, 1e-3, 0.05, 0.999, 2.5, 1e12, math.nan, math.inf, "x", "", "-", None, True]
BAD += [[], {}, (1, 2), b"SAME", np.ones(2), np.float32(0.5), object(), int, 1j]
CASES = [(name, option) for name in FAMILIES for option in model_info(name).options]


def test_every_family_has_a_network_in_the_tables():
    known = {model_info(name).family for name in list_models(task="classification")}
    assert known == {model_info(name).family for name in CLASSIFIERS}
    assert {model_info(name).family for name in list_models()} == {model_info(name).family for name in FAMILIES}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), CASES)
def test_any_value_makes_a_network_or_a_sentence(name, option):
    """Try a quarter of the values, others for each option; tracing an allowed one takes a second."""
    for value in BAD[CASES.index((name, option)) % 4 :: 4]:
        _tried(name, option, value)


@pytest.mark.parametrize("seed", range(12))
def test_a_sample_of_them(seed):
    rng = np.random.default_rng(seed)
    name, option = CASES[rng.integers(len(CASES))]
    for at in rng.choice(len(BAD), 10, replace=False):
        _tried(name, option, BAD[at])


def _tried(name, option, value):
    sides = {32: 16, 64: 32, 224: 64, 256: 64, 299: 96, 300: 288, 320: 64, 520: 64, 800: 64}
    side = sides[model_info(name).input_shape[0]]
    # of kernels that are not shared
    with contextlib.suppress(UserError), warnings.catch_warnings(action="ignore"):
        model = create_model(name, **{**FAMILIES[name], option: value})
        made = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))
        assert all(0 not in leaf.shape for leaf in jax.tree.leaves(made)), (name, option, value)
