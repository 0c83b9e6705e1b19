"""The names that PyTorch's model packages give to the layers and stages of our families.

A row maps our name to theirs. {stage}, {block} and the like stand for numbers from 1; {block0} is the same number
counted from 0. A layer inside one of ours, such as the depthwise part of a separable convolution, has its own name
inside theirs.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import flax.linen as nn

from jsep.models.deeplabv3 import DeepLabV3
from jsep.models.densenet import DenseNet
from jsep.models.dicenet import DiCENet
from jsep.models.dicenet_pyramid import SCALES
from jsep.models.dicenet_segmentation import DiCENetSegmentation
from jsep.models.fcn import FCN
from jsep.models.inception_v3 import InceptionV3
from jsep.models.lraspp import LRASPP
from jsep.models.mixnet import SIZES as MIXNET_SIZES
from jsep.models.mixnet import MixNet
from jsep.models.mixnet import Row as MixNetRow
from jsep.models.mobilenet_v1 import MobileNetV1
from jsep.models.mobilenet_v2 import STAGES as V2_STAGES
from jsep.models.mobilenet_v2 import MobileNetV2
from jsep.models.mobilenet_v3 import LARGE, SMALL, MobileNetV3
from jsep.models.mobilenet_v3 import STEM as V3_STEM
from jsep.models.mobilenet_v3 import Row as V3Row
from jsep.models.mobilenet_v3 import places as v3_places
from jsep.models.pyramidnet import PyramidNet
from jsep.models.registry import create_model, model_info
from jsep.models.resnet import ResNet
from jsep.models.resnet_cifar import CifarResNet
from jsep.models.retinanet import CELL as RETINANET_CELL
from jsep.models.retinanet import LEVELS, RetinaNet
from jsep.models.segmenter import BackboneSegmenter
from jsep.models.shufflenet_v2 import ShuffleNetV2
from jsep.models.ssd import RATIOS as SSD_RATIOS
from jsep.models.ssd import SSD, VGG
from jsep.models.ssdlite import CELL as SSDLITE_CELL
from jsep.models.ssdlite import SSDLite
from jsep.models.xception import Xception


@dataclasses.dataclass(frozen=True)
class Names:
    """The names of one package for one family.

    Attributes:
        source: the package, or the repository.
        layers: their names of layers by ours.
        stages: the modules of theirs that end a stage, by our names of stages.
        implies: options that names and shapes do not show, as this package has them. Any weights by these names are
            taken to have them, unless the user knows better.
        unused: prefixes of names that only train, such as those of an auxiliary head.
        head: a layer of ours that has answers for each class, and how many for each.
    """

    source: str
    layers: Mapping[str, str]
    stages: Mapping[str, str]
    implies: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()
    head: tuple[str, int] = ("classifier", 1)

    def torch(self, layer: str) -> str:
        """Return their name of one of our layers; a layer without one keeps ours, so that errors show it."""
        if (found := _look_up(layer, self.layers)) is not None:
            return found
        parent, _, child = layer.rpartition("/")
        return f"{self.torch(parent)}.{child}" if parent else layer

    def stage(self, stage: str) -> str:
        """Return the module of theirs that ends one of our stages."""
        found = _look_up(stage, self.stages)
        assert found is not None, stage
        return found


def _look_up(name: str, rows: Mapping[str, str]) -> str | None:
    for ours, theirs in rows.items():
        if match := re.fullmatch(_pattern(ours), name):
            numbers = {key: int(value) for key, value in match.groupdict().items()}
            return theirs.format(**numbers, **{f"{key}0": value - 1 for key, value in numbers.items()})
    return None


@functools.cache
def _pattern(row: str) -> str:
    return re.sub(r"\{(\w+)\}", r"(?P<\1>\\d+)", row)


def _with_norm(rows: Mapping[str, str], conv: str = ".conv", norm: str = ".bn") -> dict[str, str]:
    """Return rows of convolutions, each with a row for its batch norm."""
    both = {}
    for ours, theirs in rows.items():
        both[ours], both[f"{ours}_norm"] = f"{theirs}{conv}", f"{theirs}{norm}"
    return both


_CV_STAGE = {"stage{stage}": "features.stage{stage}"}
_CV_UNIT = "features.stage{stage}.unit{block}"
_CV_BODY = _with_norm({"stage{stage}_block{block}_conv{conv}": f"{_CV_UNIT}.body.conv{{conv}}"})
_CV_SE = {
    "stage{stage}_block{block}_se/reduce": f"{_CV_UNIT}.se.conv1",
    "stage{stage}_block{block}_se/expand": f"{_CV_UNIT}.se.conv2",
}
_PROJECTION = {"shortcut": "projection", "stride_on": "3x3"}
_CV_RESNET = Names(
    "pytorchcv",
    {
        **_with_norm(
            {"stem": "features.init_block", "stage{stage}_block{block}_shortcut": f"{_CV_UNIT}.identity_conv"}
        ),
        **_CV_BODY,
        **_CV_SE,
        "classifier": "output",
    },
    _CV_STAGE,
    _PROJECTION,
)
_CV_PRERESNET = Names(
    "pytorchcv",
    {
        "stem": "features.init_block",
        **_CV_BODY,
        **_CV_SE,
        "stage{stage}_block{block}_shortcut": f"{_CV_UNIT}.identity_conv",
        "final_norm": "features.post_activ.bn",
        "classifier": "output",
    },
    _CV_STAGE,
    _PROJECTION,
)
_AKAMASTER = Names(
    "akamaster/pytorch_resnet_cifar10",
    {
        "stem": "conv1",
        "stem_norm": "bn1",
        "stage{stage}_block{block}_conv{conv}": "layer{stage}.{block0}.conv{conv}",
        "stage{stage}_block{block}_conv{conv}_norm": "layer{stage}.{block0}.bn{conv}",
        "stage{stage}_block{block}_shortcut": "layer{stage}.{block0}.shortcut.0",
        "stage{stage}_block{block}_shortcut_norm": "layer{stage}.{block0}.shortcut.1",
        "classifier": "linear",
    },
    {"stage{stage}": "layer{stage}"},
    {"shortcut": "pad_split", "stride_on": "3x3"},
)
_AKAMASTER_B = dataclasses.replace(_AKAMASTER, implies=_PROJECTION)  # its option B, of which it publishes no weights


def _cv_densenet(conv: str) -> Names:
    unit = "features.stage{block}.unit{layer}"
    return Names(
        "pytorchcv",
        {
            "stem": "features.init_block",
            "block{block}_layer{layer}_conv{conv}": f"{unit}.{conv}.conv",
            "block{block}_layer{layer}_norm{conv}": f"{unit}.{conv}.bn",
            # a transition begins a stage there and ends a block here
            **{
                f"transition{block}{ours}": f"features.stage{block + 1}.trans{block + 1}.conv.{theirs}"
                for block in (1, 2)
                for ours, theirs in (("", "conv"), ("_norm", "bn"))
            },
            "final_norm": "features.post_activ.bn",
            "classifier": "output",
        },
        {"block{block}": "features.stage{block}"},
    )


_CV_PYRAMIDNET = Names(
    "pytorchcv",
    {
        **_with_norm({"stem": "features.init_block"}),
        **_with_norm({"stage{stage}_unit{block}_conv{conv}": f"{_CV_UNIT}.body.conv{{conv}}"}),
        "stage{stage}_unit{block}_norm": f"{_CV_UNIT}.bn",
        "final_norm": "features.post_activ.bn",
        "classifier": "output",
    },
    _CV_STAGE,
)
_CV_MOBILENET_V1 = Names(
    "pytorchcv",
    {
        **_with_norm(
            {
                "stem": "features.init_block",
                "stage{stage}_block{block}_depthwise": f"{_CV_UNIT}.dw_conv",
                "stage{stage}_block{block}_pointwise": f"{_CV_UNIT}.pw_conv",
            }
        ),
        "classifier": "output",
    },
    _CV_STAGE,
    {"act": "relu", "padding": "TORCH"},
)
_TIMM_BLOCK = "blocks.{stage0}.{block0}"
_TIMM_MOBILENET_V1 = Names(
    "timm",
    {
        "stem": "conv_stem",
        "stem_norm": "bn1",
        "stage{stage}_block{block}_depthwise": f"{_TIMM_BLOCK}.conv_dw",
        "stage{stage}_block{block}_depthwise_norm": f"{_TIMM_BLOCK}.bn1",
        "stage{stage}_block{block}_pointwise": f"{_TIMM_BLOCK}.conv_pw",
        "stage{stage}_block{block}_pointwise_norm": f"{_TIMM_BLOCK}.bn2",
        "classifier": "classifier",
    },
    {"stage{stage}": "blocks.{stage0}"},
    {"act": "relu6", "padding": "TORCH"},
)


_XCEPTION = {"padding": "TORCH", "inner_activation": "none"}


def _cv_xception() -> Names:
    # modules 5 to 12 are the middle flow: units 2 to 9 of their third stage
    units = {2: "stage1.unit1", 3: "stage2.unit1", 4: "stage3.unit1", 13: "stage4.unit1"}
    units |= {module: f"stage3.unit{module - 3}" for module in range(5, 13)}
    bodies = {module: f"features.{unit}.body.block" for module, unit in units.items()}
    layers = _with_norm({"stem{i}": "features.init_block.conv{i}"})
    for module, body in {**bodies, 14: "features.final_block.conv"}.items():
        layers[f"module{module}_sep{{i}}_depthwise"] = f"{body}{{i}}.conv.dw_conv"
        layers[f"module{module}_sep{{i}}_pointwise"] = f"{body}{{i}}.conv.pw_conv"
        layers[f"module{module}_sep{{i}}_norm"] = f"{body}{{i}}.bn"
    for module in (2, 3, 4, 13):
        layers |= _with_norm({f"module{module}_shortcut": f"features.{units[module]}.identity_conv"})
    stages = {f"module{module:02}": f"features.{units[module]}" for module in (2, 3, 4, 12, 13)}
    ends = {"module01": "features.init_block", "module14": "features.final_block.activ"}
    return Names("pytorchcv", {**layers, "classifier": "output"}, {**stages, **ends}, _XCEPTION)


def _timm_xception() -> Names:
    layers = {"stem{i}": "conv{i}", "stem{i}_norm": "bn{i}"}
    for module in range(2, 14):
        first = 0 if module == 2 else 1  # a leading ReLU is a member of their sequence
        for i in (1, 2, 3):
            at = first + 3 * (i - 1)
            layers[f"module{module}_sep{i}_depthwise"] = f"block{module - 1}.rep.{at}.conv1"
            layers[f"module{module}_sep{i}_pointwise"] = f"block{module - 1}.rep.{at}.pointwise"
            layers[f"module{module}_sep{i}_norm"] = f"block{module - 1}.rep.{at + 1}"
        layers[f"module{module}_shortcut"] = f"block{module - 1}.skip"
        layers[f"module{module}_shortcut_norm"] = f"block{module - 1}.skipbn"
    for i, theirs in ((1, 3), (2, 4)):
        layers[f"module14_sep{i}_depthwise"] = f"conv{theirs}.conv1"
        layers[f"module14_sep{i}_pointwise"] = f"conv{theirs}.pointwise"
        layers[f"module14_sep{i}_norm"] = f"bn{theirs}"
    stages = {f"module{module:02}": f"block{module - 1}" for module in (2, 3, 4, 12, 13)}
    ends = {"module01": "act2", "module14": "act4"}
    return Names("timm", {**layers, "classifier": "fc"}, {**stages, **ends}, _XCEPTION)


def _torchvision_inception_v3() -> Names:
    blocks = {"a1": "5b", "a2": "5c", "a3": "5d", "b": "6a", "c1": "6b", "c2": "6c", "c3": "6d", "c4": "6e"}
    blocks |= {"d": "7a", "e1": "7b", "e2": "7c"}
    branches = {
        "a": {"branch1_conv1": "1x1", "branch2_conv{i}": "5x5_{i}", "branch3_conv{i}": "3x3dbl_{i}"},
        "b": {"branch1_conv1": "3x3", "branch2_conv{i}": "3x3dbl_{i}"},
        "c": {"branch1_conv1": "1x1", "branch2_conv{i}": "7x7_{i}", "branch3_conv{i}": "7x7dbl_{i}"},
        "d": {"branch1_conv{i}": "3x3_{i}", "branch2_conv{i}": "7x7x3_{i}"},
        "e": {
            "branch1_conv1": "1x1",
            "branch2_conv1": "3x3_1",
            "branch2_row_conv1": "3x3_2a",
            "branch2_column_conv1": "3x3_2b",
            "branch3_conv{i}": "3x3dbl_{i}",
            "branch3_row_conv1": "3x3dbl_3a",
            "branch3_column_conv1": "3x3dbl_3b",
        },
    }
    stem = ("stem1_conv1", "1a_3x3"), ("stem1_conv2", "2a_3x3"), ("stem1_conv3", "2b_3x3")
    stem += ("stem2_conv1", "3b_1x1"), ("stem2_conv2", "4a_3x3")
    rows = {ours: f"Conv2d_{theirs}" for ours, theirs in stem}
    for block, mixed in blocks.items():
        for ours, theirs in branches[block[0]].items():
            rows[f"{block}_{ours}"] = f"Mixed_{mixed}.branch{theirs}"
        rows[f"{block}_pooled_conv1"] = f"Mixed_{mixed}.branch_pool"
    stages = {block: f"Mixed_{mixed}" for block, mixed in blocks.items()}
    layers = {**_with_norm(rows), "classifier": "fc"}
    return Names("torchvision and timm", layers, stages, unused=("AuxLogits.",))


def _torchvision_shufflenet_v2() -> Names:
    unit = "stage{stage}.{unit0}"
    branches = {
        "shortcut_depthwise": ("branch1.0", "branch1.1"),
        "shortcut": ("branch1.2", "branch1.3"),
        "expand": ("branch2.0", "branch2.1"),
        "depthwise": ("branch2.3", "branch2.4"),
        "project": ("branch2.5", "branch2.6"),
    }
    rows = {"stem": "conv1.0", "stem_norm": "conv1.1", "head": "conv5.0", "head_norm": "conv5.1", "classifier": "fc"}
    for ours, (conv, norm) in branches.items():
        rows[f"stage{{stage}}_unit{{unit}}_{ours}"] = f"{unit}.{conv}"
        rows[f"stage{{stage}}_unit{{unit}}_{ours}_norm"] = f"{unit}.{norm}"
    return Names("torchvision", rows, {"stage{stage}": "stage{stage}"}, {"units": "torchvision"})


_RESNET_BLOCK = "layer{stage}.{block0}"
_RESNET = Names(
    "torchvision and timm",
    {
        "stem": "conv1",
        "stem_norm": "bn1",
        "stage{stage}_block{block}_conv{conv}": f"{_RESNET_BLOCK}.conv{{conv}}",
        "stage{stage}_block{block}_conv{conv}_norm": f"{_RESNET_BLOCK}.bn{{conv}}",
        "stage{stage}_block{block}_shortcut": f"{_RESNET_BLOCK}.downsample.0",
        "stage{stage}_block{block}_shortcut_norm": f"{_RESNET_BLOCK}.downsample.1",
        "stage{stage}_block{block}_se/reduce": f"{_RESNET_BLOCK}.se.fc1",
        "stage{stage}_block{block}_se/expand": f"{_RESNET_BLOCK}.se.fc2",
        "stage{stage}_block{block}_eca/conv": f"{_RESNET_BLOCK}.se.conv",
        "classifier": "fc",
    },
    {"stage{stage}": "layer{stage}"},
)
_ECANET_RESNET = dataclasses.replace(
    _RESNET,
    source="BangguWu/ECANet",
    layers={**_RESNET.layers, "stage{stage}_block{block}_eca/conv": f"{_RESNET_BLOCK}.eca.conv"},
)


def _torchvision_mobilenet_v2() -> Names:
    rows = {"stem": "features.0.0", "stem_norm": "features.0.1", "head": "features.18.0", "head_norm": "features.18.1"}
    stages, at = {}, 0  # blocks are numbered through all stages
    for stage, (expansion, _, blocks, _) in enumerate(V2_STAGES, start=1):
        for block in range(1, blocks + 1):
            at += 1
            ours, theirs = f"stage{stage}_block{block}", f"features.{at}.conv"
            parts = ["expand", "depthwise"] if expansion > 1 else ["depthwise"]
            for i, part in enumerate(parts):
                rows |= _with_norm({f"{ours}_{part}": f"{theirs}.{i}"}, ".0", ".1")
            rows[f"{ours}_project"] = f"{theirs}.{len(parts)}"
            rows[f"{ours}_project_norm"] = f"{theirs}.{len(parts) + 1}"
            rows[f"{ours}_eca/conv"] = f"{theirs}.{len(parts) + 2}.conv"  # as in BangguWu/ECANet
        stages[f"stage{stage}"] = f"features.{at}"
    return Names("torchvision", {**rows, "classifier": "classifier.1"}, stages)


def _torchvision_mobilenet_v3(rows: Sequence[V3Row]) -> Names:
    last = f"features.{len(rows) + 1}"
    names = {"stem": "features.0.0", "stem_norm": "features.0.1", "head": f"{last}.0", "head_norm": f"{last}.1"}
    stages, channels = {}, V3_STEM
    numbered = zip(rows, v3_places(rows), strict=True)
    for at, (row, (stage, number)) in enumerate(numbered, start=1):
        ours, theirs = f"stage{stage}_block{number}", f"features.{at}.block"
        parts = ["expand"] * (row.expanded != channels) + ["depthwise"] + ["se"] * row.squeeze + ["project"]
        for i, part in enumerate(parts):
            if part == "se":
                names |= {f"{ours}_se/reduce": f"{theirs}.{i}.fc1", f"{ours}_se/expand": f"{theirs}.{i}.fc2"}
            else:
                names |= _with_norm({f"{ours}_{part}": f"{theirs}.{i}"}, ".0", ".1")
        stages[f"stage{stage}"], channels = f"features.{at}", row.features
    return Names("torchvision", {**names, "dense": "classifier.0", "classifier": "classifier.3"}, stages)


def _torchvision_ssdlite(rows: Sequence[V3Row]) -> Names:
    cut = 1 + max(at for at, row in enumerate(rows) if row.stride > 1)  # they cut this block behind its expansion

    def in_two(theirs: str) -> str:
        block, *rest = theirs.removeprefix("features.").split(".")
        at = int(block)
        if at < cut:
            rest = ["0", block, *rest]
        elif at > cut:
            rest = ["1", str(at - cut), *rest]
        elif rest[:2] == ["block", "0"]:
            rest = ["0", block, *rest[2:]]
        else:
            rest = ["1", "0", *rest[1:]]
        return ".".join(["backbone.features", *rest])

    own = _torchvision_mobilenet_v3(rows).layers.items()
    names = {f"backbone/{ours}": in_two(theirs) for ours, theirs in own if theirs.startswith("features.")}
    parts = {}
    for i, part in enumerate(("reduce", "depthwise", "expand")):
        parts[f"extra{{number}}_{part}"] = f"backbone.extra.{{number0}}.{i}"
    for ours, theirs in (("class", "classification"), ("box", "regression")):
        level = f"head.{theirs}_head.module_list.{{number0}}"
        parts[f"{ours}{{number}}_depthwise"] = f"{level}.0"
        names[f"{ours}{{number}}"] = f"{level}.1"
    return Names("torchvision", {**names, **_with_norm(parts, ".0", ".1")}, {}, head=("class1", SSDLITE_CELL))


def _torchvision_ssd300_vgg16() -> Names:
    names, at = {"backbone/norm": "backbone"}, 0
    for block, (_, layers) in enumerate(VGG, start=1):
        at = 1 if block == 5 else at + (block > 1)  # behind a pool, with which a list of its own begins in block 5
        for layer in range(1, layers + 1):
            names[f"backbone/conv{block}_{layer}"] = f"backbone.{'extra.0' if block == 5 else 'features'}.{at}"
            at += 2
    names |= {"backbone/fc6": f"backbone.extra.0.{at}.1", "backbone/fc7": f"backbone.extra.0.{at}.3"}
    names |= {"extra{number}_reduce": "backbone.extra.{number}.0", "extra{number}_expand": "backbone.extra.{number}.2"}
    for ours, theirs in (("class", "classification"), ("box", "regression")):
        names[f"{ours}{{number}}"] = f"head.{theirs}_head.module_list.{{number0}}"
    return Names("torchvision", names, {}, head=("class1", 2 + 2 * len(SSD_RATIOS[0])))


def _torchvision_retinanet(older: bool = False) -> Names:
    inside, every = ("", 2) if older else (".0", 1)  # a ReLU was a member of their sequence once
    names = {f"backbone/{ours}": f"backbone.body.{theirs}" for ours, theirs in _RESNET.layers.items()}
    for at, level in enumerate(LEVELS):
        names[f"lateral{level}"] = f"backbone.fpn.inner_blocks.{at}{inside}"
        names[f"output{level}"] = f"backbone.fpn.layer_blocks.{at}{inside}"
    names |= {level: f"backbone.fpn.extra_blocks.{level}" for level in ("p6", "p7")}
    for ours, theirs, last in (("class", "classification", "cls_logits"), ("box", "regression", "bbox_reg")):
        for at in range(4):
            conv = f"head.{theirs}_head.conv.{every * at}"
            names |= _with_norm({f"{ours}_conv{at + 1}": conv}, inside, ".1")
        names[ours] = f"head.{theirs}_head.{last}"
    source, implies = ("pytorch/vision until 0.12", {"zero_epsilon": True}) if older else ("torchvision", {})
    return Names(source, names, {}, implies, head=("class", RETINANET_CELL))


def _timm_mobilenet_v2() -> Names:
    rows = {"stem": "conv_stem", "stem_norm": "bn1", "head": "conv_head", "head_norm": "bn2"}
    only = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
    usual = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
    for ours, parts in (("stage1_block1", only), ("stage{stage}_block{block}", usual)):
        block = "blocks.0.0" if parts is only else _TIMM_BLOCK
        for part, (conv, norm) in parts.items():
            rows[f"{ours}_{part}"], rows[f"{ours}_{part}_norm"] = f"{block}.{conv}", f"{block}.{norm}"
    return Names("timm", {**rows, "classifier": "classifier"}, {"stage{stage}": "blocks.{stage0}"})


def _timm_mobilenet_v3(rows: Sequence[V3Row]) -> Names:
    names = {"stem": "conv_stem", "stem_norm": "bn1", "dense": "conv_head", "classifier": "classifier"}
    stages, channels, at = {}, V3_STEM, (-1, 0)
    for row, (stage, number) in zip(rows, v3_places(rows), strict=True):
        # a stage of theirs also ends where the number of features changes, one of ours only at a stride
        begins = at[0] < 0 or row.stride > 1 or row.features != channels
        at = (at[0] + 1, 0) if begins else (at[0], at[1] + 1)
        ours, theirs = f"stage{stage}_block{number}", f"blocks.{at[0]}.{at[1]}"
        parts = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
        if row.expanded != channels:
            parts = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
        for part, (conv, norm) in parts.items():
            names[f"{ours}_{part}"], names[f"{ours}_{part}_norm"] = f"{theirs}.{conv}", f"{theirs}.{norm}"
        names |= {f"{ours}_se/{part}": f"{theirs}.se.conv_{part}" for part in ("reduce", "expand")}
        stages[f"stage{stage}"], channels = theirs, row.features
    names |= _with_norm({"head": f"blocks.{at[0] + 1}.0"}, ".conv", ".bn1")
    return Names("timm", names, stages, implies={"epsilon": 1e-5})


def _timm_mixnet(stages: Sequence[Sequence[MixNetRow]]) -> Names:
    shared = _timm_mobilenet_v2()
    rows: dict[str, str] = {}
    for stage, kinds in enumerate(stages, start=1):
        blocks = [row for row in kinds for _ in range(row.blocks)]
        for block, row in enumerate(blocks, start=1):
            ours = f"stage{stage}_block{block}"
            parts = {"expand": row.expand_parts, "depthwise": len(row.kernels), "project": row.project_parts}
            for part, count in parts.items():
                if part == "expand" and row.expansion == 1:
                    continue
                theirs = shared.torch(f"{ours}_{part}")
                for i in range(count):  # a convolution of one part is not a list there
                    rows[f"{ours}_{part}/part{i + 1}"] = f"{theirs}.{i}" if count > 1 else theirs
    se = {f"stage{{stage}}_block{{block}}_se/{part}": f"{_TIMM_BLOCK}.se.conv_{part}" for part in ("reduce", "expand")}
    return Names("timm", {**rows, **se, **shared.layers}, shared.stages)


def _cv_dicenet() -> Names:
    unit = "features.stage{stage}.unit{unit}"
    left, right = f"{unit}.branches.left_branch", f"{unit}.branches.right_branch"
    rows = {
        "stem": "features.init_block.conv",
        "stage{stage}_unit{unit}_shortcut_depthwise": f"{left}.conv1",
        "stage{stage}_unit{unit}_shortcut": f"{left}.conv2",
        "stage{stage}_unit{unit}_project": f"{right}.conv",
        "stage{stage}_unit{unit}_expand": f"{unit}.right_branch.conv",
    }
    acts = {f"{ours}_act": f"{theirs}.activ" for ours, theirs in rows.items()}
    names = {**_with_norm(rows), **acts, "head": "output.conv1", "classifier": "output.conv2"}
    for number, branch in (("1", right), ("{unit}", f"{unit}.right_branch")):  # the first unit of a stage has a stride
        ours = f"stage{{stage}}_unit{number}_dice"
        theirs = f"{branch}.dice".replace("{unit}", number)
        names |= {
            f"{ours}/depth": f"{theirs}.base_block.convs.ch_conv",
            f"{ours}/height": f"{theirs}.base_block.convs.h_conv.conv",
            f"{ours}/width": f"{theirs}.base_block.convs.w_conv.conv",
            f"{ours}/branches_norm": f"{theirs}.base_block.norm_activ.bn",
            f"{ours}/branches_act": f"{theirs}.base_block.norm_activ.activ",
            f"{ours}/reduce": f"{theirs}.att.conv1",
            f"{ours}/expand": f"{theirs}.att.conv2",
        }
        for part, conv in (("fuse", f"{theirs}.base_block.squeeze_conv"), ("project", f"{theirs}.proj_conv")):
            names |= {**_with_norm({f"{ours}/{part}": conv}), f"{ours}/{part}_act": f"{conv}.activ"}
    return Names("pytorchcv", names, _CV_STAGE)


def _edgenets_dicenet_segmentation() -> Names:
    convs, acts, rows = {}, {}, {"classifier": "eff_pool_128x128.merge_layer.3"}
    convs["backbone/stem"] = "base_net.level1.cbr"
    for stage in (1, 2):
        level, unit = f"base_net.level{stage + 2}", f"backbone/stage{stage}_unit"
        convs |= {
            f"{unit}1_shortcut_depthwise": f"{level}.0.left_layer.0.cbr",
            f"{unit}1_shortcut": f"{level}.0.left_layer.1.cbr",
            f"{unit}1_project": f"{level}.0.right_layer.2.cbr",
            f"{unit}{{unit}}_expand": f"{level}.{{unit0}}.layer_right.0.cbr",
        }
        for number, dice in (("1", f"{level}.0.right_layer.1"), ("{unit}", f"{level}.{{unit0}}.layer_right.1")):
            ours = f"{unit}{number}_dice"
            parts = {"depth": "conv_channel", "height": "conv_height", "width": "conv_width"}
            parts |= {"reduce": "linear_comb_layer.1", "expand": "linear_comb_layer.3"}
            rows |= {f"{ours}/{part}": f"{dice}.{theirs}" for part, theirs in parts.items()}
            convs |= {f"{ours}/fuse": f"{dice}.weight_avg_layer.cbr", f"{ours}/project": f"{dice}.proj_layer.cbr"}
            acts[f"{ours}/branches"] = f"{dice}.br_act.br"
    for number, side in enumerate((16, 32, 64, 128), start=1):
        pool = f"eff_pool_{side}x{side}"
        convs |= {f"pyramid{number}_reduce": f"{pool}.projection_layer.cbr"}
        convs |= {f"pyramid{number}_merge": f"{pool}.merge_layer.2.cbr"}
        rows |= {f"pyramid{number}_scale{i}": f"{pool}.stages.{i - 1}" for i in range(1, len(SCALES) + 1)}
        rows |= {f"pyramid{number}_expand": f"{pool}.merge_layer.3"}
        acts |= {f"pyramid{number}_branches": f"{pool}.merge_layer.0.br", f"pyramid{number}_expand": f"{pool}.br.br"}
    for number, side in enumerate((32, 64, 128), start=1):
        convs[f"skip{number}"] = f"proj_enc_{side}x{side}.expansion_layer.cbr"
        rows[f"skip{number}_gate"] = f"proj_enc_{side}x{side}.wt_layer.1"
        acts[f"sum{number}"] = f"bu_br_{side}x{side}"
    # there a convolution, a batch norm and an activation, or the last two, are members of a sequence
    for ours, theirs in convs.items():
        rows |= {ours: f"{theirs}.0", f"{ours}_norm": f"{theirs}.1", f"{ours}_act": f"{theirs}.2"}
    for ours, theirs in acts.items():
        rows |= {f"{ours}_norm": f"{theirs}.0", f"{ours}_act": f"{theirs}.1"}
    return Names("sacmehta/EdgeNets", rows, {})


_FCN_HEAD = {"head": "classifier.0", "head_norm": "classifier.1", "classifier": "classifier.4"}
_AUXILIARY = {f"auxiliary_{ours}": f"aux_{theirs}" for ours, theirs in _FCN_HEAD.items()}
_SEGMENTERS: dict[type[nn.Module], dict[str, str]] = {
    LRASPP: {
        **_with_norm({"head": "classifier.cbr"}, ".0", ".1"),
        "gate": "classifier.scale.1",
        "early_classifier": "classifier.low_classifier",
        "classifier": "classifier.high_classifier",
    },
    FCN: {**_FCN_HEAD, **_AUXILIARY},
    DeepLabV3: {
        **_with_norm({"branch{branch}": "classifier.0.convs.{branch0}"}, ".0", ".1"),
        **_with_norm({"pooled": "classifier.0.convs.4"}, ".1", ".2"),
        **_with_norm({"project": "classifier.0.project"}, ".0", ".1"),
        "head": "classifier.1",
        "head_norm": "classifier.2",
        "classifier": "classifier.4",
        **_AUXILIARY,
    },
}


def _torchvision_segmenter(model: BackboneSegmenter) -> list[Names]:
    """Return torchvision's names, if it has such a backbone; its auxiliary head is left out where ours has none."""
    backbone = create_model(model.backbone)
    unused = () if getattr(model, "auxiliary", False) else ("aux_classifier.",)
    implies = {"output_stride": 8 if isinstance(backbone, ResNet) else 16}
    found = []
    for names in layouts(backbone):
        if "torchvision" in names.source:
            layers = {ours: theirs.removeprefix("features.") for ours, theirs in names.layers.items()}
            rows = {f"backbone/{ours}": f"backbone.{theirs}" for ours, theirs in layers.items()}
            found.append(Names("torchvision", {**rows, **_SEGMENTERS[type(model)]}, {}, implies, unused))
    return found


_V3 = {
    size: [_torchvision_mobilenet_v3(rows), _timm_mobilenet_v3(rows)]
    for size, rows in (("large", LARGE), ("small", SMALL))
}
_RETINANET = [_torchvision_retinanet(), _torchvision_retinanet(older=True)]
_SSD300_VGG16 = _torchvision_ssd300_vgg16()
_SSDLITE = _torchvision_ssdlite(LARGE)
_MIXNET = {size: _timm_mixnet(stages) for size, (stages, *_) in MIXNET_SIZES.items()}
_DENSENET, _DENSENET_B = _cv_densenet("conv"), _cv_densenet("conv{conv}")
_FAMILIES: dict[type[nn.Module], list[Names]] = {
    PyramidNet: [_CV_PYRAMIDNET],
    DiCENet: [_cv_dicenet()],
    DiCENetSegmentation: [_edgenets_dicenet_segmentation()],
    MobileNetV1: [_CV_MOBILENET_V1, _TIMM_MOBILENET_V1],
    Xception: [_cv_xception(), _timm_xception()],
    InceptionV3: [_torchvision_inception_v3()],
    MobileNetV2: [_torchvision_mobilenet_v2(), _timm_mobilenet_v2()],
    ResNet: [_RESNET, _ECANET_RESNET],
    ShuffleNetV2: [_torchvision_shufflenet_v2()],
}


# options that leave names and shapes of arrays alone but not the logits
SILENT = (
    *("shortcut", "stride_on", "act", "inner_activation", "padding", "epsilon", "input", "units", "zero_epsilon"),
    "output_stride",
)


def layouts(model: nn.Module) -> list[Names]:
    """Return all sets of names that weights for this network may use; none if there is no public reference."""
    if isinstance(model, CifarResNet):
        return [_CV_PRERESNET] if model.preact else [_CV_RESNET, _AKAMASTER, _AKAMASTER_B]
    if isinstance(model, DenseNet):
        return [_DENSENET_B if model.bottleneck else _DENSENET]
    if isinstance(model, MobileNetV3):
        return _V3[model.size]
    if isinstance(model, MixNet):
        return [_MIXNET[model.size]]
    if isinstance(model, RetinaNet):
        known = _RETINANET if model.version == 1 else _RETINANET[:1]
        return known if model_info(model.backbone).family == "jsep.models.resnet:ResNet" else []
    if isinstance(model, SSDLite):
        return [_SSDLITE] if model.backbone == "mobilenet_v3_large" else []
    if isinstance(model, SSD):
        return [_SSD300_VGG16] if model.backbone == "vgg16" else []
    if isinstance(model, BackboneSegmenter):
        return _torchvision_segmenter(model)
    return _FAMILIES.get(cast(type[nn.Module], type(model)), [])
