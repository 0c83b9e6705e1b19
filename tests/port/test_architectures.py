"""Files name their architecture and its statistics, and ours takes options from that."""

import json

import pytest

from jsep.errors import UserError
from jsep.models import list_models, model_info
from jsep.models.registry import FED_HALVES, FED_IMAGENET
from jsep.port.architectures import Origin, find_architecture, origin_of


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("mobilenetv2_140-21a4e913.pth", {}, Origin("mobilenetv2_140", False)),
        ("best_legacy_xception.pth", {}, Origin("legacy_xception", False)),
        ("MixNet_S.pth", {}, Origin("mixnet_s", False)),
        ("inception_v3.gluon_in1k.safetensors", {}, Origin("inception_v3.gluon_in1k", False)),
        ("model.safetensors", {"architecture": "tf_mixnet_s"}, Origin("tf_mixnet_s", True)),
        ("model.pth", {"arch": "resnet50", "state_dict": {}}, Origin("resnet50", True)),
        ("mixnet_s.pth", {"args": {"model": "timm/tf_mixnet_s.in1k"}, "model": {}}, Origin("tf_mixnet_s.in1k", True)),
        ("model.pth", {"model": {}, "args": None, 3: 4}, Origin()),
    ],
)
def test_a_file_says_what_it_is_of(tmp_path, name, content, wanted):
    assert origin_of(tmp_path / name, content) == wanted


def test_a_config_beside_the_file_is_heeded_and_a_broken_one_is_not(tmp_path):
    trained = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 160, 160]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "tf_mixnet_s", "pretrained_cfg": trained}))
    assert origin_of(tmp_path / "model.safetensors", {}) == Origin("tf_mixnet_s", True, FED_HALVES, 160)
    for broken in (
        "{",
        "[]",
        '{"architecture": "x", "pretrained_cfg": {"mean": "a", "std": [0], "input_size": [3, -4]}}',
    ):
        (tmp_path / "config.json").write_text(broken)
        found = origin_of(tmp_path / "model.safetensors", {})
        assert (found.fed, found.image_size) == (None, 0)


def test_names_of_architectures_settle_options():
    (found,) = find_architecture(Origin("mobilenetv1_100.ra4_e3600_r224_in1k", True), "mobilenet_v1")
    assert dict(found.options) == {"act": "relu6"}
    assert find_architecture(Origin("my_own", True), "mixnet_s") == []
    assert find_architecture(Origin("resnet18", False), "mixnet_s") == []  # the name of a file proves nothing
    with pytest.raises(UserError, match="those of resnet18, which is resnet18 in jsep"):
        find_architecture(Origin("resnet18", True), "mixnet_s")


def test_published_weights_are_fed_what_timm_says():
    timm = pytest.importorskip("timm", reason="knows what its weights were fed")
    for model in list_models():
        info = model_info(model)
        for reference in info.references:
            package, _, name = reference.partition(":")
            if package != "timm" or not timm.is_model(name):
                continue
            for tagged in timm.list_models(f"{name}.*", pretrained=True):
                own = timm.get_pretrained_cfg(tagged)
                found = [one.fed for one in find_architecture(Origin(tagged, True), model) if one.name == name]
                ours = found[0] or info.fed.get("timm", FED_IMAGENET)
                assert (own.mean, own.std) == ours, tagged
