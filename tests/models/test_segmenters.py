"""Segmenters: their counts, their loss, the backbones that they take, and images of any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import CLASSIFIERS

from jsep import create_model, list_models, model_info
from jsep.costs import count
from jsep.errors import UserError
from jsep.models.segmenter import Maps, Segmenter


def later(*values):
    """A row of a table that only `make test-all` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def shapes(name, x=(2, 64, 64, 3), train=False, **options):
    """Return the maps of a network in shapes, and its variables."""
    model = create_model(name, **options)
    init = functools.partial(model.init_with_output, train=train)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(init, keys, jax.ShapeDtypeStruct(x, jnp.float32))


@pytest.mark.parametrize(
    ("name", "options", "side", "params", "macs"),
    [
        later("deeplabv3", {"auxiliary": True}, 520, 42_004_074, 178_721_945_088),
        ("deeplabv3_mobilenet_v3", {"auxiliary": True}, 520, 11_029_328, 10_452_447_938),
        later("fcn", {"auxiliary": True}, 520, 35_322_218, 152_716_512_000),
        ("dicenet_segmentation_x0_2", {}, 384, 46_927, 135_261_340),
        later("dicenet_segmentation_x0_5", {}, 384, 76_359, 182_519_196),
        later("dicenet_segmentation_x0_75", {}, 384, 189_663, 281_658_648),
        later("dicenet_segmentation_x1_0", {}, 384, 283_387, 312_375_220),
        later("dicenet_segmentation_x1_25", {}, 384, 389_415, 342_139_548),
        later("dicenet_segmentation_x1_75", {}, 384, 807_951, 641_599_548),
        later("dicenet_segmentation_x0_5", {"num_classes": 20}, 256, 76_348, None),
        later("dicenet_segmentation_x1_0", {"num_classes": 20}, 256, 283_376, None),
        later("dicenet_segmentation_x1_0", {"num_classes": 20, "width": 1.5}, 256, 552_124, None),
        later("dicenet_segmentation_x1_75", {"num_classes": 20}, 256, 807_940, None),
    ],
)
def test_counts_of_other_forms(name, options, side, params, macs):
    """With torchvision's auxiliary heads; at EdgeNets' higher resolution, and with its 20 classes of Cityscapes."""
    table = count(create_model(name, **options), (side, side, 3))
    assert table.params == params
    assert macs in (None, table.macs)


EVERYDAY = {"dicenet_segmentation_x0_2", "fcn", "lraspp"}
ALL = [name if name in EVERYDAY else later(name) for name in list_models(task="segmentation")]


@pytest.mark.parametrize("name", ALL)
def test_logits_are_float32_at_every_pixel(name):
    """Of images whose sides are odd and unequal; the encoder of DiCENet keeps the filters that it has for 224x224."""
    maps, variables = shapes(name, (2, 65, 47, 3), num_classes=5, dtype=jnp.bfloat16)
    assert (maps.logits.shape, maps.logits.dtype, maps.auxiliary) == ((2, 65, 47, 5), jnp.float32, None)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    if name.startswith("dicenet"):
        assert variables["params"]["backbone"]["stage1_unit1_dice"]["height"]["kernel"].shape[-1] == 28


@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3", later("fcn")])
def test_an_auxiliary_head_works_in_training_only(name):
    model = create_model(name, auxiliary=True)
    x = jnp.ones((2, 32, 32, 3))
    maps, variables = shapes(name, x.shape, train=True, auxiliary=True)
    assert maps.auxiliary.shape == maps.logits.shape == (2, 32, 32, 21)
    assert jax.eval_shape(model.apply, variables, x).auxiliary is None


BACKBONES = ["mobilenet_v1_025", "resnet20", "shufflenet_v2_x0_5", "dicenet_x0_2", "vgg16_bn"]
OTHERS = [name for name in CLASSIFIERS if name not in (*BACKBONES, "keras_separable_cnn")]


@pytest.mark.parametrize("backbone", [*BACKBONES, *map(later, OTHERS)])
def test_any_classifier_is_a_backbone(backbone):
    maps, _ = shapes("lraspp", (1, 96, 96, 3), backbone=backbone, output_stride=32)
    assert maps.logits.shape == (1, 96, 96, 21)


@pytest.mark.parametrize(
    ("backbone", "output_stride", "sentence"),
    [
        ("mobilenet_v1", 16, "backbone=mobilenet_v1: it has no dilated form; choose output_stride=32"),
        ("lraspp", 16, "backbone=lraspp: it must be a network for classification, not segmentation"),
        ("mobilenet_v9", 16, "There is no model 'mobilenet_v9'; did you mean"),
        ("resnet18_wksc4", 8, "output_stride=8 has no effect on resnet18_wksc4 with conv=wksc"),
    ],
)
def test_backbones_that_do_not_fit_are_refused(backbone, output_stride, sentence):
    with pytest.raises(UserError, match=sentence):
        shapes("lraspp", backbone=backbone, output_stride=output_stride)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2_050", "mobilenet_v3_small"])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_dilation_leaves_the_parameters_as_they_are(backbone, output_stride):
    x = jnp.ones((1, 64, 64, 3))

    def traced(model):
        init = functools.partial(model.init_with_output, features=True)
        (_, stages), variables = jax.eval_shape(init, jax.random.key(0), x)
        return stages, variables

    plain, wanted = traced(create_model(backbone))
    stages, variables = traced(create_model(backbone, output_stride=output_stride))
    assert variables == wanted
    for name, stage in stages.items():
        assert stage.stride == min(plain[name].stride, output_stride) == 64 // stage.maps.shape[1]


def test_the_loss_is_that_of_torch():
    """With ignored pixels, with weights of the classes, and with an auxiliary head."""
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    rng = np.random.default_rng(0)
    logits, other = rng.normal(size=(2, 3, 8, 8, 5)).astype(np.float32)
    masks = np.where(rng.random((3, 8, 8)) < 0.3, 255, rng.integers(0, 5, (3, 8, 8)))
    class_weights = np.asarray([1.0, 0.5, 2.0, 3.0, 0.1], np.float32)
    model = Segmenter(5)
    for weights in (None, class_weights):
        kept = None if weights is None else jnp.asarray(weights)
        options = {"ignore_index": 255, "weight": None if weights is None else torch.from_numpy(weights)}
        want = [
            torch.nn.functional.cross_entropy(
                torch.from_numpy(one.transpose(0, 3, 1, 2)), torch.from_numpy(masks), **options
            ).item()
            for one in (logits, other)
        ]
        found = model.loss(Maps(jnp.asarray(logits)), jnp.asarray(masks), kept)
        both = model.loss(Maps(jnp.asarray(logits), jnp.asarray(other)), jnp.asarray(masks), kept)
        np.testing.assert_allclose([found, both], [want[0], want[0] + want[1] / 2], rtol=1e-5)


def test_the_mean_loss_of_devices_is_that_of_the_whole():
    """Devices have unequal numbers of ignored pixels, one of them nothing else; gradients agree too."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(4, 2, 6, 6, 3)), jnp.float32)
    masks = rng.integers(0, 3, (4, 2, 6, 6)).astype(np.uint8)
    masks[0], masks[1, 0] = 255, 255
    masks = jnp.asarray(masks)

    def apart(logits, masks):
        model = Segmenter(3, axis_name="batch")
        return jax.value_and_grad(lambda logits: model.loss(Maps(logits), masks))(logits)

    losses, grads = jax.pmap(apart, axis_name="batch")(logits, masks)
    whole = (8, 6, 6)
    loss, grad = jax.value_and_grad(lambda logits: Segmenter(3).loss(Maps(logits), masks.reshape(whole)))(
        logits.reshape(*whole, 3)
    )
    np.testing.assert_allclose(losses.mean(), loss, rtol=1e-6)
    np.testing.assert_allclose(grads.reshape(*whole, 3) / 4, grad, atol=1e-7)
    assert losses[0] == 0


def test_a_batch_of_ignored_pixels_has_no_loss():
    assert Segmenter(3).loss(Maps(jnp.ones((1, 2, 2, 3))), jnp.full((1, 2, 2), 255)) == 0


STEPS = [
    ("lraspp", {"backbone": "resnet18", "output_stride": 8}),
    later("lraspp", {}),
    later("deeplabv3_mobilenet_v3", {"auxiliary": True, "features": 32}),
    later("fcn", {"backbone": "resnet18", "output_stride": 16, "auxiliary": True}),
    later("dicenet_segmentation_x0_5", {}),  # at x0.2 all four hidden features of a gate may be drawn negative
]


@pytest.mark.parametrize(("name", "options"), STEPS)
def test_every_parameter_gets_a_gradient(name, options, drawn):
    """One step in bfloat16 on two devices."""
    model = create_model(name, num_classes=4, dtype=jnp.bfloat16, axis_name="batch", **options)
    rng = np.random.default_rng(0)
    variables = drawn(model, (1, 64, 64, 3))
    x = rng.normal(size=(2, 2, 64, 64, 3)).astype(np.float32)
    masks = rng.integers(0, 4, (2, 2, 64, 64))

    def step(variables, x, masks):
        def loss_of(params):
            given = {**variables, "params": params}
            maps, updates = model.apply(
                given, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)}
            )
            return model.loss(maps, masks), updates

        grads, updates = jax.grad(loss_of, has_aux=True)(variables["params"])
        return jax.tree.map(lambda g: jnp.abs(g).max(), jax.lax.pmean(grads, "batch")), updates

    largest, updates = jax.pmap(step, axis_name="batch", in_axes=(None, 0, 0), out_axes=None)(variables, x, masks)
    for path, value in jax.tree_util.tree_leaves_with_path(largest):
        assert 0 < value < np.inf, jax.tree_util.keystr(path)
    for path, value in jax.tree_util.tree_leaves_with_path(updates):
        assert np.isfinite(value).all(), jax.tree_util.keystr(path)


def test_rows_say_their_task():
    assert {model_info(name).task for name in list_models("*segmentation*")} == {"segmentation"}
