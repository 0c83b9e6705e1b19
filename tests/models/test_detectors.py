"""Detectors: exact counts, answers of any backbone, anchors, and the same loss on eight devices as on one.

Their outputs are compared with PyTorch's in tests/port/test_detector_parity.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import CLASSIFIERS

from jsep import boxes, create_model, model_info
from jsep.costs import count
from jsep.errors import UserError


def later(*values):
    """A row of a table that only `make test-all` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "classes", "options", "params", "macs"),
    [
        ("ssdlite320", 91, {}, 3_440_060, 583_171_904),
        later("ssdlite320", 81, {}, 3_301_460, 563_188_544),
        later("ssdlite320", 21, {}, 2_469_860, 443_288_384),
        later("ssdlite320", 91, {"tail": "full"}, 5_198_540, 689_751_104),
        later("ssdlite320", 81, {"tail": "full"}, 5_031_140, 666_887_744),
        ("ssdlite320", 21, {"tail": "full"}, 4_026_740, 529_707_584),
        ("retinanet", 91, {}, 34_014_999, 151_540_437_248),
        later("retinanet", 91, {"frozen_norm": False}, 34_068_119, 151_540_437_248),
        later("retinanet", 91, {"backbone": "eca_resnet50"}, 34_014_999 + 80, 151_540_437_248 + 86_272),
        ("retinanet_v2", 91, {}, 38_198_935, 152_238_199_040),
        later("dicenet_ssd_x0_75", 81, {}, 6_097_415, 281_652_317),
        ("dicenet_ssd_x0_75", 21, {}, 5_233_415, 191_241_917),
        later("dicenet_ssd_x1_0", 81, {}, 6_700_623, 390_201_525),
        later("dicenet_ssd_x1_0", 21, {}, 5_761_023, 272_078_325),
        later("dicenet_ssd_x1_5", 81, {}, 8_189_939, 655_542_941),
        later("dicenet_ssd_x1_5", 21, {}, 7_099_139, 481_994_141),
        later("dicenet_ssd_x2_0", 81, {}, 10_336_508, 1_033_118_741),
        later("dicenet_ssd_x2_0", 21, {}, 9_074_348, 796_754_261),
        # over other backbones, as docs/tasks/detection.md has them
        later("ssdlite320", 21, {"backbone": "mobilenet_v2"}, 3_399_108, 712_705_984),
        later("ssdlite320", 21, {"backbone": "shufflenet_v2_x1_0"}, 2_260_104, 361_162_784),
        later("ssdlite320", 21, {"backbone": "dicenet_x1_0"}, 1_430_584, 185_575_224),
        later("dicenet_ssd_x1_0", 21, {"backbone": "mobilenet_v3_large"}, 8_997_570, 559_415_384),
        later("ssd300_vgg16", 91, {}, 35_641_826, 34_858_153_472),
        later("ssd300", 21, {}, 7_400_622, 1_811_154_368),
        later("retinanet", 21, {}, 32_562_849, 132_172_805_888),
        later("retinanet", 21, {"backbone": "eca_resnet50"}, 32_562_929, 132_172_892_160),
    ],
)
def test_counts(name, classes, options, params, macs):
    """Those of torchvision 0.29.1, of EdgeNets with the width of its last stage, or our own over other backbones.

    With efficient channel attention there are its kernels besides, 80 numbers.
    """
    table = count(create_model(name, num_classes=classes, **options), model_info(name).input_shape)
    assert (table.params, table.macs, table.unknown) == (params, macs, ())


@pytest.mark.parametrize(
    ("name", "anchors", "first", "total"),
    [
        ("ssdlite320", 3234, [-24, -24, 40, 40], 2_069_759.99),
        ("ssd300", 8732, [-6.5, -6.5, 14.5, 14.5], 5_332_736.0),
        later("retinanet", 120_087, [-23, -11, 23, 11], None),
    ],
)
def test_anchors_are_those_of_torchvision(name, anchors, first, total):
    model, x = create_model(name, num_classes=3), np.zeros((1, *model_info(name).input_shape), np.float32)
    found = jax.jit(lambda x: model.init_with_output(jax.random.key(0), x)[0].anchors)(x)
    assert found.shape == (anchors, 4)
    np.testing.assert_allclose(found[0], first, atol=1e-4)
    assert total is None or round(float(np.asarray(found, np.float64).sum()), 2) == total


def test_the_smallest_boxes_of_ssdlite_have_the_side_that_is_asked_for():
    pytest.importorskip("torchvision")
    import torch
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList

    model = create_model("ssdlite320", num_classes=3, backbone="mobilenet_v3_small", smallest=0.08)
    x = np.zeros((1, 320, 320, 3), np.float32)
    found = jax.jit(lambda x: model.init_with_output(jax.random.key(0), x)[0].anchors)(x)
    maps = [torch.zeros(1, 1, side, side) for side in (20, 10, 5, 3, 2, 1)]
    boxes_of = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.08, max_ratio=0.95)
    (its,) = boxes_of(ImageList(torch.zeros(1, 3, 320, 320), [(320, 320)]), maps)
    np.testing.assert_array_equal(found, its.numpy())


# an expansion to read, maps of strides 1 to 4, dense layers behind the maps, a classifier that pools before its last
# convolution, none of these
EVERYDAY = [
    ("ssdlite320", "mobilenet_v2_050"),
    ("ssdlite320", "resnet20"),
    ("ssdlite320", "separable_cnn"),
    ("retinanet", "dicenet_x0_2"),
    ("ssd300", "shufflenet_v2_x0_5"),
]
LATER = [("ssdlite320", "dicenet_x0_2"), ("ssdlite320", "keras_separable_cnn"), ("retinanet_v2", "shufflenet_v2_x0_5")]
LATER += [("dicenet_ssd_x1_0", "resnet18"), ("dicenet_ssd_x1_0", "dicenet_x0_2")]
# that has maps of two sizes, and RetinaNet reads three
LATER += [("retinanet", name) for name in CLASSIFIERS if name != "keras_separable_cnn"]
SIDES = {"ssdlite320": 320, "ssd300": 300, "dicenet_ssd_x1_0": 300, "retinanet": 256, "retinanet_v2": 256}


@pytest.mark.parametrize(("name", "backbone"), [*EVERYDAY, *(later(*row) for row in LATER if row not in EVERYDAY)])
def test_any_network_is_a_backbone(name, backbone):
    """It answers, has a loss and detects, all on shapes; nothing of the backbone's classifier is left."""
    model, side = create_model(name, num_classes=4, backbone=backbone, dtype=jnp.bfloat16), SIDES[name]

    def everything(x, objects):
        answers, variables = model.init_with_output(jax.random.key(0), x, train=True)
        return variables, answers, model.loss(answers, objects), model.detect(answers, (side, side))

    x, objects = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32), jax.eval_shape(lambda: some_objects((3, 0), 5))
    variables, answers, losses, found = jax.eval_shape(everything, x, objects)
    assert answers.logits.shape == (2, sum(answers.levels), 4)
    assert answers.codes.shape == (2, *answers.anchors.shape) == (2, sum(answers.levels), 4)
    assert {leaf.dtype for leaf in jax.tree.leaves((answers, losses))} == {jnp.dtype(jnp.float32)}
    assert losses.classes.shape == losses.boxes.shape == ()
    assert found.boxes.shape[::2] == (2, 4)
    gone = ("classifier", "dense", "head") if "dicenet" in backbone else ("classifier", "dense")
    assert not [layer for layer in variables["params"]["backbone"] if layer.startswith(gone)]


@pytest.mark.parametrize(("backbone", "channels"), [later("mobilenet_v3_small", 288), ("mobilenet_v2_050", 288)])
def test_ssdlite_reads_the_expansion_of_the_last_stride(backbone, channels):
    model = create_model("ssdlite320", backbone=backbone)
    made = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 320, 320, 3), jnp.float32))
    assert made["params"]["class1_depthwise"]["kernel"].shape == (3, 3, 1, channels)


@pytest.mark.parametrize(
    ("name", "options", "side", "sentence"),
    [
        ("ssdlite320", {"backbone": "ssd300"}, 320, "it must be a network for classification, not detection"),
        ("ssdlite320", {"backbone": "resnet19"}, 320, "no model 'resnet19'; did you mean"),
        ("ssdlite320", {"backbone": 50}, 320, "option backbone=50: it must be a string"),
        ("ssdlite320", {"tail": "half"}, 320, "it must be reduced or full"),
        ("ssdlite320", {"backbone": "resnet18", "tail": "full"}, 320, "no effect on ssdlite320 with backbone=resnet18"),
        (
            "retinanet",
            {"backbone": "keras_separable_cnn"},
            256,
            "reads maps of 3 sizes, of which it has 2; choose another",
        ),
        later("ssd300", {"backbone": "separable_cnn"}, 71, "SSD needs images of at least 72x72, not 71x71"),
        later("ssd300", {}, 256, "SSD needs images of at least 257x257, not 256x256"),
        ("retinanet", {"version": 3}, 256, "it must be 1 or 2"),
        ("retinanet", {"num_classes": 1}, 256, "at least 2 for a detector, whose first class is the background"),
    ],
)
def test_what_does_not_go_is_said(name, options, side, sentence):
    def made(x):
        return create_model(name, **options).init(jax.random.key(0), x)

    with pytest.raises(UserError, match=sentence):
        jax.eval_shape(made, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))


def some_objects(counts, most, side=64):
    """Return objects of pictures, padded to `most`."""
    rng = np.random.default_rng(sum(counts))
    corner, sides = rng.uniform(0, 0.7, (len(counts), most, 2)), rng.uniform(0.1, 0.3, (len(counts), most, 2))
    return boxes.Objects(
        jnp.asarray(side * np.concatenate([corner, corner + sides], -1), float),
        jnp.asarray(rng.integers(1, 4, (len(counts), most)), jnp.int32),
        jnp.asarray(np.arange(most) < np.array(counts)[:, None]),
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        later("ssdlite320", {"backbone": "shufflenet_v2_x0_5"}),
        later("retinanet_v2", {"backbone": "shufflenet_v2_x0_5"}),
    ],
)
def test_eight_devices_have_the_loss_and_the_gradients_of_one(name, options, drawn):
    """Of pictures with 0 to 7 objects, so that devices have different numbers of matched anchors; in float64."""
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 64, 64, 3)))
        objects = some_objects((3, 0, 7, 1, 0, 2, 5, 4), 8)
        variables = drawn(create_model(name, num_classes=4, **options), (1, 64, 64, 3), dtype="float64")

        def found(axis_name):
            model = create_model(name, num_classes=4, axis_name=axis_name, **options)

            def total(params, x, objects):
                answers, updates = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
                losses = model.loss(answers, objects)
                return losses.classes + losses.boxes, (losses, updates)

            def one(params, x, objects):
                (_, (losses, updates)), grads = jax.value_and_grad(total, has_aux=True)(params, x, objects)
                return jax.lax.pmean((losses, grads), axis_name) if axis_name else (losses, grads), updates

            if not axis_name:
                return jax.jit(one)(variables["params"], x, objects)
            shares = jax.tree.map(lambda a: a[:, None], (x, objects))
            return jax.pmap(one, axis_name, in_axes=(None, 0, 0), out_axes=None)(variables["params"], *shares)

        alone, together = (jax.tree.map(np.asarray, found(axis_name)) for axis_name in (None, "batch"))
    ((losses, grads), _) = alone
    assert min(losses) > 0
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(grads))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10 * largest)
