"""Detections of a network are those of torchvision's with the same weights: the same kept set, in the same order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import create_model, model_info
from jsep.port.convert import convert, from_torch, torch_name
from jsep.port.names import layouts
from jsep.trees import flatten

torch = pytest.importorskip("torch", reason="the references need torch")
pytest.importorskip("torchvision", reason="the references need torchvision")

from detectors_of_torch import detections_of, spread  # noqa: E402 (they need torch)

from jsep.port.reference import answers, build  # noqa: E402

torch.set_num_threads(1)

SSDLITE = "torchvision:ssdlite320_mobilenet_v3_large"


def later(*values):
    """A row of a table that only `make test-all` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "reference", "size"),
    [
        ("ssdlite320", SSDLITE, 96),
        later("ssdlite320", SSDLITE, 320),
        later("ssdlite320", f"{SSDLITE}/full", 320),
        later("ssd300_vgg16", "torchvision:ssd300_vgg16", 300),
        later("retinanet", "torchvision:retinanet_resnet50_fpn", 128),
        later("retinanet_v2", "torchvision:retinanet_resnet50_fpn_v2", 128),
    ],
)
def test_answers_and_detections(name, reference, size):
    """In float64, so that no detection is on the other side of a threshold by rounding."""
    info = model_info(name)
    model, theirs = create_model(name, **info.references[reference]), build(reference, info.num_classes, size)
    spread(theirs)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    variables, wrong = convert(model, info.input_shape, state, layouts(model)[0])
    assert not wrong
    images = np.random.default_rng(0).normal(size=(2, size, size, 3))
    with torch.no_grad():
        answered = answers(theirs.double(), torch.from_numpy(images.transpose(0, 3, 1, 2)))
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        ours = jax.jit(model.apply)(variables, jnp.asarray(images))
        found = jax.jit(lambda ours: model.detect(ours, (size, size)))(ours)
    for a, b in ((ours.logits, answered["cls_logits"].numpy()), (ours.codes, answered["bbox_regression"].numpy())):
        assert np.abs(np.asarray(a) - b).max() <= 1e-8 * np.abs(b).max()
    np.testing.assert_array_equal(ours.anchors, answered["anchors"].double().numpy())
    for i, wanted in enumerate(detections_of(theirs, answered, ours.levels, (size, size))):
        count = int(found.valid[i].sum())
        assert count == len(wanted["scores"]) > 20
        assert len(set(wanted["labels"].tolist())) > 3
        np.testing.assert_array_equal(found.labels[i][:count], wanted["labels"].numpy())
        np.testing.assert_allclose(found.scores[i][:count], wanted["scores"].numpy(), rtol=1e-8)
        np.testing.assert_allclose(found.boxes[i][:count], wanted["boxes"].numpy(), rtol=1e-8, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "layout"),
    [
        ("ssdlite320", {}, 0),
        ("retinanet", {"backbone": "resnet18"}, 0),
        ("retinanet", {"backbone": "resnet18", "zero_epsilon": True}, 1),  # the names of torchvision until 0.12
        later("retinanet_v2", {"backbone": "eca_resnet18"}, 0),
        later("ssd300_vgg16", {}, 0),
    ],
)
def test_every_array_is_found_by_its_name(name, options, layout, drawn):
    """The number of classes is that of the weights."""
    model = create_model(name, num_classes=5, **options)
    variables, names = drawn(model, (1, 300, 300, 3)), layouts(model)[layout]
    state = {torch_name(path, names): _as_torch(leaf) for path, leaf in flatten(variables).items()}
    found = flatten(from_torch(name, state, **options))
    assert list(found) == list(flatten(variables))
    for path, leaf in flatten(variables).items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path)


def _as_torch(leaf: np.ndarray) -> np.ndarray:
    """(h, w, i, o) -> (o, i, h, w), and likewise with fewer axes."""
    return leaf.transpose(3, 2, 0, 1) if leaf.ndim == 4 else leaf.T
