"""Published weights come from a hub or from torchvision whole and undamaged, or a sentence says what is wrong."""

import dataclasses
import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hub import COMMIT, Hub
from safetensors.numpy import save_file

from jsep.errors import UserError
from jsep.models import model_info
from jsep.models.registry import FED_CAFFE, FED_HALVES, FED_IMAGENET
from jsep.port.architectures import Origin, find_architecture, origin_of, registered_name
from jsep.port.convert import port_state
from jsep.port.published import find_published
from jsep.port.tags import TIMM, TORCHVISION, known_weights
from jsep.trees import flatten

NAME = "timm/resnet18.a1_in1k"
VIEW = {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center"}
CONFIG = {"architecture": "resnet18", "num_classes": 2, "pretrained_cfg": VIEW}


def publish(folder, name, config=CONFIG, weights="model.safetensors"):
    repository = folder / name
    repository.mkdir(parents=True)
    (repository / "config.json").write_text(json.dumps(config))
    if weights:
        save_file({"fc.weight": np.zeros((2, 512), np.float32)}, repository / weights)
    return repository


def found(name):
    published = find_published(Path(name))
    assert published
    return published


def test_weights_are_downloaded_once_and_found_without_the_hub(hub, monkeypatch):
    publish(hub.folder, NAME)
    for name in (NAME, f"{NAME}@v1", f"{NAME}@{COMMIT}", f"hf-hub:{NAME}"):
        path, origin = found(name)
        assert origin is None
        assert origin_of(path, {}) == Origin(
            "resnet18", True, image_size=224, crop_share=0.95, interpolation="bicubic", num_classes=2
        )
    transfers = [path for path in hub.asked if path.endswith("model.safetensors")]
    assert len(transfers) == 2  # the headers and the file, of the same commit as its config.json
    assert all(f"/{COMMIT}/" in path for path in transfers)
    hub.stop()
    assert found(NAME).path == path
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert found(NAME).path == path
    sentence = r"timm/resnet50\.a1_in1k is not in the cache, and HF_HUB_OFFLINE is set: unset it to download, or give"
    with pytest.raises(UserError, match=sentence):
        found("timm/resnet50.a1_in1k")


def cut(hub):
    hub.cut = {"model.safetensors"}


def spoil(hub):
    hub.spoiled = {"model.safetensors"}


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (NAME, cut, r"model\.safetensors could not be downloaded \(peer closed .*\): try again"),
        (NAME, spoil, r"is damaged: its SHA-256 is not the published one; delete it, then try again"),
        (NAME, Hub.stop, "the hub cannot be reached: connect to the network, set HF_ENDPOINT to a mirror, or"),
        (f"{NAME}@v9", None, "no such revision; leave @ out for the newest"),
        ("timm/resnet18.pickle", None, r"has no model\.safetensors, and pickled weights are not read: choose"),
        ("timm/resnet18.a1_in2k", None, r"The hub has no weights called .*; did you mean timm/resnet18\.a1_in1k"),
        ("timm/some.thing", None, "is a some_net, which jsep does not have; jsep models --weights lists"),
        ("timm/empty", None, r"has no config\.json: choose weights in the layout of timm"),
        ("timm/a/b", None, "is no name on the hub"),
        ("timm/" + "a" * 200, None, "is no name on the hub"),
        (
            "timm/resnet18.a1_in2k",
            Hub.stop,
            r"not in the cache .did you mean timm/resnet18\.a1_in1k .*\?., and",
        ),
        (
            "torchvision/mobilenet_v2",
            None,
            r"did you mean torchvision/mobilenet_v2\.IMAGENET1K_V. or torchvision/mobilenet_v2\.IMAGENET1K_V.",
        ),
        ("torchvision/resnet18.IMAGENET1K", None, r"no weights .*; did you mean torchvision/resnet18\.IMAGENET1K_V1\?"),
        ("torchvision/resnet19.IMAGENET1K_V1", None, "is a resnet19, which jsep does not have"),
        ("torchvision/vgg16_bn.IMAGENET1K_V1", None, "jsep does not have, since it has dense layers for 224x224"),
    ],
)
def test_what_cannot_be_fetched_ends_in_a_sentence(hub, name, change, sentence):
    if name.startswith("torchvision"):
        pytest.importorskip("torchvision", reason="has the table of these weights")
    publish(hub.folder, NAME)
    publish(hub.folder, "timm/resnet18.pickle", weights="pytorch_model.bin")
    publish(hub.folder, "timm/some.thing", {**CONFIG, "architecture": "some_net"})
    (hub.folder / "timm/empty").mkdir()
    if change:
        change(hub)
    with pytest.raises(UserError, match=sentence) as refusal:
        found(name)
    assert len(str(refusal.value).splitlines()) == 1
    if "not have" in sentence:
        assert not any(path.endswith("safetensors") for path in hub.asked)  # its config.json was enough


def test_a_folder_of_the_layout_needs_no_name(tmp_path):
    folder = publish(tmp_path, "mine")
    assert find_published(folder) == (folder / "model.safetensors", None)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has a config\.json and no model\.safetensors: put the weights there"):
        find_published(folder)
    assert find_published(tmp_path) is None
    assert find_published(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_args": {"act_layer": "silu"}}, "act_layer is 'silu', which jsep's networks do not have"),
        ({"model_args": {"output_stride": 8}}, "output_stride is 8"),
        ({"global_pool": "catavgmax"}, "global_pool is 'catavgmax'"),
        ({"pretrained_cfg": {**VIEW, "crop_mode": "squash"}}, "crop_mode is 'squash'"),
        ({"pretrained_cfg": {**VIEW, "interpolation": "lanczos"}}, "interpolation is 'lanczos'"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(tmp_path, config, sentence):
    with pytest.raises(UserError, match=sentence):
        find_published(publish(tmp_path, "mine", CONFIG | config))


def test_a_config_says_how_images_are_prepared(tmp_path):
    view = VIEW | {"test_input_size": [3, 288, 288], "test_crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.5] * 3}
    arguments = {"in_chans": 3, "num_classes": 2, "drop_rate": 0.1, "global_pool": "avg"}
    config = {"label_names": ["cat", "dog"], "model_args": arguments, "pretrained_cfg": view}
    file = publish(tmp_path, "mine", CONFIG | config) / "model.safetensors"
    names = ("cat", "dog")
    assert origin_of(file, {}) == Origin("resnet18", True, FED_HALVES, 224, 288, 1.0, "bicubic", 2, names)
    by_label = publish(tmp_path, "yours", CONFIG | {"label_names": {"1": "dog", "0": "cat"}})
    assert origin_of(by_label / "model.safetensors", {}).class_names == names
    short = publish(tmp_path, "short", CONFIG | {"label_names": ["cat"]})
    assert origin_of(short / "model.safetensors", {}).class_names == ()


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """An empty cache of torch, and torchvision's table with addresses on this machine."""
    torch = pytest.importorskip("torch", reason="keeps the downloads")
    torchvision = pytest.importorskip("torchvision", reason="has the table of weights")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "home"))

    def publish(name, tag, content):
        digest = hashlib.sha256(content).hexdigest()[:8]
        file = tmp_path / f"{name}-{digest}.pth"
        file.write_bytes(content)
        weights = torchvision.models.get_model_weights(name)[tag]
        monkeypatch.setattr(weights, "_value_", dataclasses.replace(weights.value, url=file.as_uri()))
        return file

    return publish


def test_torchvisions_table_says_how_images_are_prepared(torch_home):
    file = torch_home("mobilenet_v2", "IMAGENET1K_V2", b"weights")
    path, origin = found("torchvision/mobilenet_v2.IMAGENET1K_V2")
    assert path.read_bytes() == b"weights"
    assert origin
    assert origin[:-1] == ("mobilenet_v2.IMAGENET1K_V2", True, FED_IMAGENET, 224, 0, 224 / 232, "bilinear", 0)
    assert origin.class_names[:2] == ("tench", "goldfish")
    file.unlink()
    assert found("torchvision/mobilenet_v2.IMAGENET1K_V2").path == path  # from the cache
    path.write_bytes(b"weighty")
    with pytest.raises(UserError, match="is damaged: its SHA-256 is not the published one"):
        found("torchvision/mobilenet_v2.IMAGENET1K_V2")
    path.unlink()
    with pytest.raises(UserError, match=r"could not be downloaded .* or put the file of file://"):
        found("torchvision/mobilenet_v2.IMAGENET1K_V2")
    file.write_bytes(b"weig")  # cut off
    with pytest.raises(UserError, match=r"could not be downloaded \(invalid hash value"):
        found("torchvision/mobilenet_v2.IMAGENET1K_V2")
    assert not path.exists()


def test_torchvisions_inception_is_fed_what_its_network_makes_of_its_images(torch_home):
    torch_home("inception_v3", "IMAGENET1K_V1", b"weights")
    origin = found("torchvision/inception_v3.IMAGENET1K_V1").origin
    assert origin
    assert (origin.fed, origin.image_size, origin.crop_share) == (FED_HALVES, 299, 299 / 342)


WITH_BOXES, WITH_MASKS = ("COCO_V1", 90, "person"), ("COCO_WITH_VOC_LABELS_V1", 21, "__background__")
DENSE = {
    "ssdlite320_mobilenet_v3_large": (FED_HALVES, *WITH_BOXES),
    "ssd300_vgg16": (FED_CAFFE, *WITH_BOXES),
    "retinanet_resnet50_fpn": (FED_IMAGENET, *WITH_BOXES),
    "retinanet_resnet50_fpn_v2": (FED_IMAGENET, *WITH_BOXES),
    "lraspp_mobilenet_v3_large": (FED_IMAGENET, *WITH_MASKS),
    "deeplabv3_resnet50": (FED_IMAGENET, *WITH_MASKS),
    "deeplabv3_mobilenet_v3_large": (FED_IMAGENET, *WITH_MASKS),
    "fcn_resnet50": (FED_IMAGENET, *WITH_MASKS),
}


@pytest.mark.parametrize(("name", "fed", "tag", "classes", "first"), [(name, *row) for name, row in DENSE.items()])
def test_torchvisions_detectors_and_segmenters_see_whole_pictures(torch_home, name, fed, tag, classes, first):
    torch_home(name, tag, b"weights")
    origin = found(f"torchvision/{name}.{tag}").origin
    assert origin
    assert (origin.fed, origin.image_size, origin.crop_share) == (fed, 0, 0)  # 0 is what the network was published for
    assert (len(origin.class_names), origin.class_names[0]) == (classes, first)


@pytest.mark.parametrize("name", DENSE)
def test_torchvisions_detectors_and_segmenters_have_the_arrays_of_ours(name):
    """By names and shapes of torchvision's own network, and by the number of parameters that it says of the weights."""
    torch = pytest.importorskip("torch", reason="builds the network")
    models = pytest.importorskip("torchvision.models", reason="has the table of weights")
    (known,) = [one for one in known_weights() if one.name.startswith(f"torchvision/{name}.")]
    tagged = known.name.removeprefix("torchvision/")
    meta = models.get_model_weights(name)[tagged.partition(".")[2]].meta
    second = {"aux_loss": True} if name.startswith(("deeplabv3", "fcn")) else {}
    with torch.device("meta"):
        theirs = models.get_model(name, weights=None, weights_backbone=None, **second)
    state = {key: np.broadcast_to(np.float32(1), value.shape) for key, value in theirs.state_dict().items()}
    if name == "retinanet_resnet50_fpn":  # whose weights were published under the names of their time
        state = {_earlier(key): value for key, value in state.items()}
    ported = port_state(known.model, state, {}, architectures=find_architecture(Origin(tagged, True), known.model))
    assert {**model_info(known.model).fixed, **ported.options} == {**model_info(known.model).fixed, **known.options}
    assert ported.num_classes == len(meta["categories"])
    left = [state[key].size for key in ported.unused if not key.rpartition(".")[2].startswith("running")]
    assert bool(left) == bool(second)
    assert sum(leaf.size for leaf in flatten(ported.variables["params"]).values()) + sum(left) == meta["num_params"]


def _earlier(key):
    """RetinaNet's names until torchvision 0.12."""
    key = re.sub(r"(inner_blocks|layer_blocks)\.(\d)\.0\.", r"\1.\2.", key)
    return re.sub(r"head\.conv\.(\d)\.0\.", lambda found: f"head.conv.{2 * int(found[1])}.", key)


def test_torchvisions_retinanet_divides_by_the_deviation_alone():
    """Its table says so by the code that loads the weights, whatever their names are."""
    (tagged,) = find_architecture(Origin("retinanet_resnet50_fpn.COCO_V1", True), "retinanet")
    (other,) = find_architecture(Origin("retinanet_resnet50_fpn", True), "retinanet")
    assert (tagged.options, other.options) == ({"zero_epsilon": True}, {})


def test_known_weights_are_those_of_the_packages():
    timm = pytest.importorskip("timm", reason="has the tags")
    torchvision = pytest.importorskip("torchvision", reason="has the table of weights")
    for name, tags in TIMM.items():
        published = (timm.get_pretrained_cfg(tag) for tag in timm.list_models(f"{name}.*", pretrained=True))
        assert set(tags.split()) == {one.tag for one in published if one.hf_hub_id and one.num_classes}, name
    for name, tags in TORCHVISION.items():
        assert tags.split() == [one.name for one in torchvision.models.get_model_weights(name)]
    listed = [one.name for one in known_weights()]
    tags = " ".join([*TIMM.values(), *TORCHVISION.values()]).split()
    assert len(listed) == len(set(listed)) == len(tags)
    for name in listed:
        assert registered_name(Origin(name.partition("/")[2], True), name)


def test_the_configs_of_timm_are_understood(tmp_path):
    timm = pytest.importorskip("timm", reason="has the configs")
    file = tmp_path / "model.safetensors"
    for name in (f"{name}.{tag}" for name, tags in TIMM.items() for tag in tags.split()):
        known = timm.get_pretrained_cfg(name)
        config = {"architecture": known.architecture, "num_classes": known.num_classes}
        (tmp_path / "config.json").write_text(
            json.dumps(config | {"pretrained_cfg": known.to_dict(remove_source=True)})
        )
        found = origin_of(file, {})
        assert registered_name(found, name)
        assert found.fed == (known.mean, known.std), name
        assert found.image_size == known.input_size[-1], name
        assert (found.eval_size or found.image_size) == (known.test_input_size or known.input_size)[-1], name
        assert found.crop_share == (known.test_crop_pct or known.crop_pct), name
        assert (found.interpolation, found.num_classes) == (known.interpolation, known.num_classes), name


def test_files_that_do_not_say_their_network_take_that_of_the_user():
    assert registered_name(Origin("resnet50", False), "w.pth", "mobilenet_v2") == "mobilenet_v2"
    assert registered_name(Origin("resnet50", True), "w.pth", "mobilenet_v2") == "resnet50"
    assert registered_name(Origin("resnet50", False), "w.pth") == "resnet50"
    assert registered_name(Origin("MobileNet", True), "w.keras", "mobilenet_v1_025") == "mobilenet_v1_025"
    assert registered_name(Origin("MobileNet", True), "w.keras", "mobilenet_v2") == "mobilenet_v1"
    assert registered_name(Origin("my_own", True), "w.pth", "mobilenet_v2") == "mobilenet_v2"
    with pytest.raises(UserError, match="does not say which network its weights are of"):
        registered_name(Origin(), "w.pth")


def test_torchvisions_weights_need_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    pytest.importorskip("torch", reason="is asked for first")
    with pytest.raises(UserError, match=r"needs torchvision, not installed here: pip install 'jsep\[torch\]'"):
        find_published(Path("torchvision/resnet18.IMAGENET1K_V1"))


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("mobilenetv1_100h", "a 1x1 convolution in front of its classifier"),
        ("mobilenetv2_110d", "more blocks"),
        ("mobilenetv3_large_150d", "more blocks"),
        ("mobilenetv3_rw", "no shortcut in its first block"),
        ("tf_mobilenetv3_small_minimal_100", "no squeeze and excitation"),
        ("mixnet_xl", "more blocks"),
        ("resnet50d", "a stem of three 3x3"),
        ("resnet50_gn", "group norms"),
        ("seresnet152d", "a stem of three 3x3"),
        ("ecaresnet26t", "a stem of three 3x3"),
        ("legacy_seresnet50", "the strides of Caffe"),
        ("xception41", "the layers of DeepLab"),
        ("densenet121", "the stem and the pools for 224x224"),
        ("vgg16_bn", "dense layers for 224x224"),
    ],
)
def test_networks_that_are_near_ones_of_ours_are_refused_by_their_difference(name, difference):
    with pytest.raises(UserError, match=f"is a {name}, which jsep does not have, since it has .*{difference}"):
        registered_name(Origin(f"{name}.some_tag", True), "w.safetensors", "resnet50")
