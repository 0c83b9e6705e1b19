"""Published weights give the logits of the package that published them, and images are prepared as there."""

import dataclasses
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jsep
from conftest import picture
from jsep import ops
from jsep.port.published import find_published
from jsep.runs.predict import open_predictor, predict

torch = pytest.importorskip("torch", reason="runs the reference")
timm = pytest.importorskip("timm", reason="has the reference")

from jsep.port.reference import build  # noqa: E402 (it needs torch)

torch.set_num_threads(1)

slow = [pytest.mark.slow]
PUBLISHED = [
    ("mobilenetv3_small_050.lamb_in1k", {"width": 0.5, "epsilon": 1e-5}),
    ("resnet18.a1_in1k", {}),
    pytest.param("mobilenetv3_large_100.ra_in1k", {"epsilon": 1e-5}, marks=slow),
    pytest.param("tf_mobilenetv3_small_100.in1k", {"padding": "SAME", "epsilon": 1e-3}, marks=slow),
    pytest.param("mobilenetv1_100.ra4_e3600_r224_in1k", {"act": "relu6"}, marks=slow),
    pytest.param("mobilenetv2_100.ra_in1k", {}, marks=slow),
    pytest.param("resnet50.tv2_in1k", {}, marks=slow),
    pytest.param("seresnet50.a1_in1k", {"se_bias": True}, marks=slow),
    pytest.param("tf_mixnet_s.in1k", {"padding": "SAME", "epsilon": 1e-3}, marks=slow),
    pytest.param("inception_v3.tf_in1k", {}, marks=slow),
]


def distance(theirs, loaded, side, mean, std):
    """Return how far our logits are from those of PyTorch's network on the same pixels, relative to its largest."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    model, variables, view = loaded
    with ops.portable_operations():  # which compile soonest
        ours = np.asarray(ops.jit_inference(model.apply)(variables, view.normalize(pixels)))
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        wanted = theirs((images - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)).numpy()
    return np.abs(ours - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize(("name", "options"), PUBLISHED)
def test_weights_that_timm_saved_give_its_logits(hub, name, options):
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform
    from timm.models._hub import save_for_hf

    side = 96 if name.startswith("inception") else 64  # the least that every stage can take
    theirs = build(f"timm:{name}", 1000, side)
    save_for_hf(theirs, hub.folder / "timm" / name, safe_serialization=True)
    loaded = jsep.load(f"timm/{name}")
    assert {key: getattr(loaded.model, key) for key in options} == options
    wanted, view = resolve_data_config(pretrained_cfg=theirs.pretrained_cfg, use_test_size=True), loaded.preprocessing
    assert (view.mean, view.std) == (wanted["mean"], wanted["std"])
    assert (view.image_size, view.crop_share) == (wanted["input_size"][1], wanted["crop_pct"])
    assert view.interpolation == wanted["interpolation"]
    encoded = picture(np.random.default_rng(0).integers(0, 256, (300, 401, 3), np.uint8), "PNG")
    kept = {key: wanted[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct")}
    transform: Any = create_transform(**kept, is_training=False)
    prepared = transform(Image.open(io.BytesIO(encoded)))
    level = 1.01 / 255 / min(view.std)
    np.testing.assert_allclose(view(encoded).transpose(2, 0, 1), prepared.numpy(), rtol=0, atol=level)
    assert distance(theirs, loaded, side, view.mean, view.std) < 1e-4
    hub.stop()
    assert find_published(Path(f"timm/{name}"))  # from the cache


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("mobilenet_v2", "IMAGENET1K_V2"),
        ("resnet18", "IMAGENET1K_V1"),
        ("shufflenet_v2_x0_5", "IMAGENET1K_V1"),
    ],
)
def test_torchvisions_weights_give_its_logits(tmp_path, monkeypatch, name, tag):
    theirs, weights = saved_by_torchvision(tmp_path, monkeypatch, name, tag, 64)
    loaded = jsep.load(f"torchvision/{name}.{tag}")
    view = weights.transforms()
    assert loaded.preprocessing.class_names == tuple(weights.meta["categories"])
    assert distance(theirs, loaded, 64, view.mean, view.std) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tag", "side", "classes"),
    [
        ("ssdlite320_mobilenet_v3_large", "COCO_V1", 320, 91),
        ("lraspp_mobilenet_v3_large", "COCO_WITH_VOC_LABELS_V1", 520, 21),
    ],
)
def test_torchvisions_detectors_and_segmenters_are_ready_for_pictures(tmp_path, monkeypatch, name, tag, side, classes):
    _, weights = saved_by_torchvision(tmp_path, monkeypatch, name, tag, side, classes)
    predictor = open_predictor(Path(f"torchvision/{name}.{tag}"))
    assert predictor.view.shape == (side, side, 3)
    assert predictor.class_names == tuple(weights.meta["categories"])[-len(predictor.class_names) :]
    file = tmp_path / "noise.png"
    file.write_bytes(picture(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8), "PNG"))
    (one,) = predict(predictor, [file], score=0)
    assert one.objects is not None if classes == 91 else one.mask is not None
    assert not one.error


@pytest.mark.slow
def test_torchvisions_inception_transforms_its_input_and_ours_is_fed_the_result(tmp_path, monkeypatch):
    theirs, weights = saved_by_torchvision(tmp_path, monkeypatch, "inception_v3", "IMAGENET1K_V1", 96)
    theirs.__dict__["transform_input"] = True  # as torchvision has it with these weights
    with pytest.warns(UserWarning, match="arrays of AuxLogits, which only training needs, were left out"):
        loaded = jsep.load("torchvision/inception_v3.IMAGENET1K_V1")
    view = weights.transforms()
    assert distance(theirs, loaded, 96, view.mean, view.std) < 1e-4


def saved_by_torchvision(folder, monkeypatch, name, tag, side, classes=1000):
    """Return a network of torchvision with random weights, which its table then names; the cache of torch is empty."""
    models = pytest.importorskip("torchvision", reason="has the reference").models
    theirs, weights = build(f"torchvision:{name}", classes, side), models.get_model_weights(name)[tag]
    state = theirs.state_dict() | ({"AuxLogits.fc.weight": torch.zeros(2, 2)} if name == "inception_v3" else {})
    torch.save(state, folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()[:8]
    file = (folder / "weights.pth").rename(folder / f"{name}-{digest}.pth")
    monkeypatch.setattr(weights, "_value_", dataclasses.replace(weights.value, url=file.as_uri()))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder / "home"))
    return theirs, weights
