"""The names under which Keras keeps the layers of our families: those of keras.applications and of Keras notebooks.

Keras loads weights by the order of layers, not by their names, which change between its versions and with every network
built in a process. So does jsep: `jsep.port.keras_files` numbers the layers of each kind in the order of the network
(conv2d, conv2d_1, ...; batch_normalization, ...), which is also what .weights.h5 does, and the functions here list our
layers in that order. The shapes of all arrays are compared as for PyTorch's weights.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn

from jsep.models.inception_v3 import InceptionV3
from jsep.models.mobilenet_v1 import STAGES as V1_STAGES
from jsep.models.mobilenet_v1 import MobileNetV1
from jsep.models.mobilenet_v2 import STAGES as V2_STAGES
from jsep.models.mobilenet_v2 import MobileNetV2
from jsep.models.mobilenet_v3 import LARGE, SMALL, MobileNetV3
from jsep.models.mobilenet_v3 import places as v3_places
from jsep.models.separable_cnn import KerasSeparableCNN, SeparableCNN
from jsep.models.xception import ENTRY, MIDDLE_MODULES, Xception
from jsep.port.names import Names

Layer = tuple[str, str]  # kind of a layer in Keras, and our name of it
CONV, DEPTHWISE, SEPARABLE = "conv2d", "depthwise_conv2d", "separable_conv2d"
NORM, DENSE = "batch_normalization", "dense"
_LIKE_KERAS = {"padding": "SAME", "epsilon": 1e-3}


class Structure(NamedTuple):
    """Traits of a Keras network that its arrays do not show.

    Attributes:
        name: what keras.applications calls the network, or jsep where it is that of a notebook.
        model: registered name of ours.
        strided: number of convolutions and pools with a stride.
        traits: activations, paddings of convolutions, and pools with their size and padding.
    """

    name: str
    model: str
    strided: int
    traits: frozenset[str]


_MOBILE = frozenset({"same", "valid", "relu6", "GlobalAveragePooling2D"})
_V3 = _MOBILE | {"relu", "hard_swish", "hard_silu"}  # Keras has had two names for this activation
_LARGE = frozenset({"same", "valid", "relu", "GlobalAveragePooling2D"})
_NOTEBOOK = frozenset({"same", "relu", "MaxPooling2D 2 valid"})
# by the numbers of Conv2D, DepthwiseConv2D, SeparableConv2D and BatchNormalization
STRUCTURES = {
    (15, 13, 0, 27): Structure("MobileNet", "mobilenet_v1", 5, _MOBILE),
    (14, 13, 0, 27): Structure("MobileNet", "mobilenet_v1", 5, _MOBILE),  # with a dense classifier
    (35, 17, 0, 52): Structure("MobileNetV2", "mobilenet_v2", 5, _MOBILE),
    (49, 15, 0, 46): Structure("MobileNetV3Large", "mobilenet_v3_large", 5, _V3),
    (43, 11, 0, 34): Structure("MobileNetV3Small", "mobilenet_v3_small", 5, _V3),
    (6, 0, 34, 40): Structure("Xception", "xception", 9, _LARGE | {"MaxPooling2D 3 same"}),
    (94, 0, 0, 94): Structure(
        "InceptionV3", "inception_v3", 9, _LARGE | {"MaxPooling2D 3 valid", "AveragePooling2D 3 same"}
    ),
    (6, 0, 0, 3): Structure("regular_cnn", "regular_cnn", 3, _NOTEBOOK),
    (3, 0, 3, 3): Structure("both_cnn", "both_cnn", 3, _NOTEBOOK),
    (0, 0, 6, 3): Structure("separable_cnn", "separable_cnn", 3, _NOTEBOOK),
    (0, 0, 6, 0): Structure(
        "keras_separable_cnn", "keras_separable_cnn", 2, _LARGE - {"same"} | {"MaxPooling2D 2 valid"}
    ),
}


def numbered_by_keras(names: Iterable[str]) -> bool:
    """Return whether all names of arrays are such numbers, as no package of PyTorch has them.

    >>> numbered_by_keras(["conv2d.weight", "dense_3.bias"]), numbered_by_keras(["conv1.weight", "dense.bias"])
    (True, False)
    """
    return all(re.match(rf"({'|'.join((CONV, DEPTHWISE, SEPARABLE, NORM, DENSE))})(_\d+)?\.", name) for name in names)


def keras_layouts(model: nn.Module) -> list[Names]:
    """Return the names that Keras weights for this network have; none if Keras publishes no such network.

    >>> from jsep.models import create_model
    >>> names, _ = keras_layouts(create_model("mobilenet_v1"))
    >>> names.torch("stage1_block1_pointwise"), names.torch("stage1_block1_pointwise_norm")
    ('conv2d_1', 'batch_normalization_2')
    """
    imagenet = _LIKE_KERAS | {"input": "imagenet"}
    match model:
        case MobileNetV1():
            implied = imagenet | {"act": "relu6"}
            # own classes stand behind a dense layer, those of ImageNet behind a 1x1 convolution
            return [
                _names("keras.applications", [*_mobilenet_v1(), (kind, "classifier")], implied)
                for kind in (CONV, DENSE)
            ]
        case MobileNetV2():
            return [_names("keras.applications", _mobilenet_v2(), imagenet)]
        case MobileNetV3():
            return [_names("keras.applications", _mobilenet_v3(model.size == "large"), imagenet)]
        case Xception():
            return [_names("keras.applications", _xception(), imagenet | {"inner_activation": "none"})]
        case InceptionV3():
            return [_names("keras.applications", _inception_v3(), _LIKE_KERAS)]
        case SeparableCNN():
            return [_names("keras notebooks", _separable_cnn(model.separable))]
        case KerasSeparableCNN():
            convs = ((SEPARABLE, f"conv{i}") for i in range(1, 7))
            return [_names("keras notebooks", [*convs, (DENSE, "dense1"), (DENSE, "classifier")])]
        case _:
            return []


def _names(source: str, layers: Iterable[Layer], implies: dict[str, Any] | None = None) -> Names:
    """Return the names of layers that are numbered by kind, in the order in which they are given."""
    seen: Counter[str] = Counter()
    rows: dict[str, str] = {}
    for kind, ours in layers:
        theirs = rows[ours] = f"{kind}_{seen[kind]}" if seen[kind] else kind
        if kind == SEPARABLE:  # some families have its parts as layers of their own
            rows |= {f"{ours}_{part}": f"{theirs}.{part}" for part in ("depthwise", "pointwise")}
        seen[kind] += 1
    return Names(source, rows, {}, implies or {})


def _with_norm(ours: str, kind: str = CONV) -> list[Layer]:
    return [(kind, ours), (NORM, f"{ours}_norm")]


def _mobilenet_v1() -> Iterator[Layer]:
    yield from _with_norm("stem")
    for stage, (_, _, blocks) in enumerate(V1_STAGES, start=1):
        for block in range(1, blocks + 1):
            yield from _with_norm(f"stage{stage}_block{block}_depthwise", DEPTHWISE)
            yield from _with_norm(f"stage{stage}_block{block}_pointwise")


def _mobilenet_v2() -> Iterator[Layer]:
    yield from _with_norm("stem")
    for stage, (expansion, _, blocks, _) in enumerate(V2_STAGES, start=1):
        for block in range(1, blocks + 1):
            ours = f"stage{stage}_block{block}"
            if expansion > 1:
                yield from _with_norm(f"{ours}_expand")
            yield from _with_norm(f"{ours}_depthwise", DEPTHWISE)
            yield from _with_norm(f"{ours}_project")
    yield from _with_norm("head")
    yield DENSE, "classifier"


def _mobilenet_v3(large: bool) -> Iterator[Layer]:
    yield from _with_norm("stem")
    rows = LARGE if large else SMALL
    for i, (row, (stage, block)) in enumerate(zip(rows, v3_places(rows), strict=True)):
        ours = f"stage{stage}_block{block}"
        if i:
            yield from _with_norm(f"{ours}_expand")
        yield from _with_norm(f"{ours}_depthwise", DEPTHWISE)
        if row.squeeze:
            yield from ((CONV, f"{ours}_se/{part}") for part in ("reduce", "expand"))
        yield from _with_norm(f"{ours}_project")
    yield from _with_norm("head")
    yield CONV, "dense"
    yield CONV, "classifier"


def _xception() -> Iterator[Layer]:
    yield from (*_with_norm("stem1"), *_with_norm("stem2"))
    last = 2 + len(ENTRY) + MIDDLE_MODULES  # the module of the exit flow that has a shortcut
    for module in range(2, last + 2):
        middle = 2 + len(ENTRY) <= module < last
        for i in range(1, 4 if middle else 3):
            yield SEPARABLE, f"module{module}_sep{i}"
            yield NORM, f"module{module}_sep{i}_norm"
        if module <= last and not middle:
            yield from _with_norm(f"module{module}_shortcut")  # comes behind the branch, which is longer
    yield DENSE, "classifier"


def _inception_v3() -> Iterator[Layer]:
    stem = ("stem1_conv1", "stem1_conv2", "stem1_conv3", "stem2_conv1", "stem2_conv2")
    # the number of convolutions in each branch
    lengths = {"a": (1, 2, 3), "b": (1, 3), "c": (1, 3, 5), "d": (2, 4), "e": (1, 1, 2)}
    for conv in stem:
        yield from _with_norm(conv)
    for block in ("a1", "a2", "a3", "b", "c1", "c2", "c3", "c4", "d", "e1", "e2"):
        kind, convs = block[0], []  # of the convolutions: how far the end of the block is, and the name
        for branch, length in enumerate(lengths[kind], start=1):
            split = kind == "e" and branch > 1  # ends in two convolutions side by side, which are concatenated first
            ends = [("row_conv1", 0.5), ("column_conv1", 0.5)] if split else []
            chain = [(f"conv{i}", length - i + (1.5 if split else 0)) for i in range(1, length + 1)]
            convs += [(distance, f"{block}_branch{branch}_{name}") for name, distance in chain + ends]
        if kind in "ace":
            convs.append((0, f"{block}_pooled_conv1"))
        # Keras orders layers by their distance to the end; sorting leaves branches in their order otherwise
        for _, conv in sorted(convs, key=lambda one: -one[0]):
            yield from _with_norm(conv)
    yield DENSE, "classifier"


def _separable_cnn(separable: tuple[int, ...]) -> Iterator[Layer]:
    for place in range(1, 7):
        yield SEPARABLE if place in separable else CONV, f"conv{place}"
    yield from ((NORM, f"norm{stage}") for stage in (1, 2, 3))
    yield from ((DENSE, name) for name in ("dense1", "dense2", "dense3", "classifier"))
