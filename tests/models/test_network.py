"""The images that networks take: every size works, or a sentence says from which one on."""

import jax
import jax.numpy as jnp
import pytest

from jsep import create_model
from jsep.costs import count
from jsep.errors import UserError
from jsep.models import parse_options

# small networks of all families and of all ways to halve a map: each option in the name of a row
NETWORKS = [
    "addressnet20 depth=8",
    "addressnet_imagenet",
    "antnet_g1 input=cifar",
    "densenet40_k12 depth=7",
    "dicenet_x0_2",
    "inception_v3",
    "keras_separable_cnn",
    "mixnet_s padding=SAME",
    "mobilenet_v1_025 conv=dice",
    "mobilenet_v1_025 padding=SAME",
    "mobilenet_v2_050",
    "mobilenet_v3_small",
    "preresnet110 depth=11 bottleneck=True shortcut=projection",
    "pyramidnet110_a48 depth=8",
    "resnet18 conv=separable",
    "resnet20 depth=8 conv=ksc",
    "separable_cnn",
    "shufflenet_v2_x0_5 units=authors",
    "vgg16_bn",
    "xception",
    "xception padding=SAME input=cifar",
]
SIZES = [*range(32, 71), *range(221, 228)]
PAIRS = list(zip(SIZES[::2], reversed(SIZES[1::2]), strict=True))
NEEDS = {"inception_v3": 75, "keras_separable_cnn": 32, "vgg16_bn": 16}


@pytest.mark.parametrize("text", [text for text in NETWORKS if text != "inception_v3"])  # it takes seconds to trace
def test_odd_and_unequal_sides(text, shaped):
    _works_or_is_refused(shaped, text, (33, 47))


@pytest.mark.slow
@pytest.mark.parametrize("text", NETWORKS)
def test_many_sizes(text, shaped):
    least = NEEDS.get(text, 1)
    small = [sides for sides in PAIRS if min(sides) < least]  # the sentence takes several traces: once is enough
    fits = [sides for sides in PAIRS[::3] if min(sides) >= least]
    # all of them where there is a reference, in tests/port/test_parity.py
    for sides in [*small[:1], *fits, *([(least, least + 34)] if text in NEEDS else [])]:
        _works_or_is_refused(shaped, text, sides)


def _works_or_is_refused(shaped, text, sides):
    if min(sides) < NEEDS.get(text, 1):
        with pytest.raises(UserError, match=f"needs images of at least {NEEDS[text]}x{NEEDS[text]}, not "):
            shaped(text, sides)
        return
    for stage in shaped(text, sides).values():
        assert 0 not in stage.maps.shape


@pytest.fixture
def shaped():
    """Return the stages of a network in shapes, for images of any size."""

    def evaluate(text, sides):
        name, *options = text.split()
        model = create_model(name, **parse_options(options))
        return jax.eval_shape(
            lambda x: model.init_with_output(jax.random.key(0), x, features=True)[0][1], jnp.ones((1, *sides, 3))
        )

    return evaluate


@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("addressnet20", {"depth": 8}, 4),
        ("densenet40_k12", {"depth": 7}, 4),
        pytest.param("inception_v3", {}, 75, marks=pytest.mark.slow),
        ("keras_separable_cnn", {}, 32),
        ("regular_cnn", {}, 8),
        ("vgg16_bn", {}, 16),
        ("xception", {}, 7),
    ],
)
def test_the_smallest_images_of_a_network(name, options, least):
    model = create_model(name, **options)
    sentence = f"needs images of at least {least}x{least}, not {least}x{least - 1}"
    with pytest.raises(UserError, match=sentence):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, least, least - 1, 3)))
    assert count(model, (least, least, 3)).params


@pytest.mark.parametrize("shape", [(32, 32, 3), (32,), (1, 1, 32, 32, 3)])
def test_images_without_a_batch_axis_are_refused(shape):
    with pytest.raises(UserError, match=r"VGG takes images of shape \(n, h, w, c\), not \("):
        create_model("vgg16_bn").init(jax.random.key(0), jnp.ones(shape))
