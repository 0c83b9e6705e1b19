"""DiCENet's detector against EdgeNets' definition in PyTorch, from the same maps of a backbone; and its priors."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import boxes, create_model
from jsep.models.dicenet_ssd import DiCENetSSD
from jsep.trees import flatten

SIDE, MAPS = 300, (38, 19, 10, 5, 3, 1)


@pytest.fixture(scope="module")
def answered(drawn):
    """Return the answers for one picture, the maps of the backbone in PyTorch's layout, and all variables by path."""
    model = create_model("dicenet_ssd_x1_0", num_classes=4, backbone="mobilenet_v1_025")
    assert isinstance(model, DiCENetSSD)
    variables = drawn(model, (1, SIDE, SIDE, 3))
    backbone = create_model("mobilenet_v1_025").clone(num_classes=0)

    @jax.jit
    def both(x):
        known = {kind: tree["backbone"] for kind, tree in variables.items()}
        stages: Any = backbone.apply(known, x)
        maps = {stage.stride: stage.maps for stage in stages.values()}
        return model.apply(variables, x), [maps[stride] for stride in (8, 16, 32)]

    answers, maps = both(jnp.asarray(np.random.default_rng(0).normal(size=(1, SIDE, SIDE, 3)), jnp.float32))
    return answers, [np.asarray(one).transpose(0, 3, 1, 2) for one in maps], flatten(variables)


def test_answers_are_those_of_the_definition(answered):
    torch = pytest.importorskip("torch", reason="the definition needs torch")
    functional = torch.nn.functional
    answers, maps, variables = answered
    state = {path: torch.from_numpy(np.array(leaf)) for path, leaf in variables.items() if "/backbone/" not in path}

    def conv(x, name, stride=1, padding=None, groups=1):
        kernel = state[f"params/{name}/kernel"].permute(3, 2, 0, 1)
        padding = kernel.shape[-1] // 2 if padding is None else padding
        return functional.conv2d(x, kernel, state.get(f"params/{name}/bias"), stride, padding, groups=groups)

    def norm(x, name):
        moments = (state[f"batch_stats/{name}_norm/{part}"] for part in ("mean", "var"))
        return functional.batch_norm(x, *moments, *(state[f"params/{name}_norm/{part}"] for part in ("scale", "bias")))

    def br(x, name):
        return functional.prelu(norm(x, name), state[f"params/{name}_act/slope"])

    def cbr(x, name, stride=1, groups=1):
        return br(conv(x, name, stride, groups=groups), name)

    def enlarged(x, size):
        return functional.interpolate(x, size, mode="bilinear", align_corners=True)

    def pyramid(x, name, features):
        x, size = cbr(x, f"{name}_reduce"), x.shape[2:]
        found = []
        for number, scale in enumerate((2.0, 1.5, 1.0, 0.5, 0.1), start=1):
            scaled = [max(5, math.ceil(side * scale)) for side in size]
            y = functional.adaptive_avg_pool2d(x, scaled) if scale < 1 else enlarged(x, scaled) if scale > 1 else x
            y = conv(y, f"{name}_scale{number}", groups=features)
            y = enlarged(y, size) if scale < 1 else functional.adaptive_avg_pool2d(y, size) if scale > 1 else y
            found.append(y)
        x = functional.channel_shuffle(br(torch.cat(found, 1), f"{name}_branches"), 5)
        return cbr(cbr(x, f"{name}_merge", groups=features), f"{name}_expand")

    levels = [torch.from_numpy(one.copy()) for one in maps]
    for number in (1, 2):
        y = cbr(levels[-1], f"extra{number}_depthwise", 2, groups=levels[-1].shape[1])
        levels.append(cbr(y, f"extra{number}_expand"))
    y = torch.relu(norm(conv(levels[-1], "extra3_reduce", 2), "extra3_reduce"))
    levels.append(torch.relu(conv(y, "extra3_expand", 2, padding=0)))
    assert [level.shape[-1] for level in levels] == list(MAPS)
    for at in (3, 2, 1, 0):
        features = levels[at].shape[1]
        y = torch.cat([enlarged(levels[at + 1], levels[at].shape[2:]), levels[at]], 1)
        levels[at] = pyramid(y, f"pyramid{at + 1}", features // 5)
    for kind, each, ours in (("class", 4, answers.logits), ("box", 4, answers.codes)):
        heads = [conv(level, f"{kind}{number}").permute(0, 2, 3, 1) for number, level in enumerate(levels, start=1)]
        theirs = torch.cat([head.reshape(1, -1, each) for head in heads], 1).numpy()
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_priors_are_those_of_edgenets(answered):
    """Centers and sizes clamped to the image, which moves the last centers of stride 32 to its edge."""
    answers, *_ = answered
    sizes, wanted = (30, 77, 125, 172, 220, 267, 315), []
    for k, (cells, step) in enumerate(zip(MAPS, (8, 16, 32, 64, 100, 300), strict=True)):
        least, mean = sizes[k] / SIDE, math.sqrt(sizes[k] / SIDE * sizes[k + 1] / SIDE)
        for row, column in itertools.product(range(cells), repeat=2):
            center = ((column + 0.5) * step / SIDE, (row + 0.5) * step / SIDE)
            wanted += [(*center, least, least), (*center, mean, mean)]
            for root in (math.sqrt(2), math.sqrt(3)):
                wanted += [(*center, least * root, least / root), (*center, least / root, least * root)]
    centers, sides = np.split(np.clip(wanted, 0, 1) * SIDE, 2, -1)
    assert answers.anchors.shape == (11_640, 4)
    np.testing.assert_allclose(
        answers.anchors, np.concatenate([centers - sides / 2, centers + sides / 2], -1), atol=1e-3
    )


def test_an_object_is_matched_from_an_overlap_of_45_percent():
    model = create_model("dicenet_ssd_x1_0", num_classes=3)
    assert isinstance(model, DiCENetSSD)
    anchors = jnp.asarray([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.6], [0.0, 0.0, 10.0, 4.4]])
    objects = boxes.Objects(anchors[None, :1], jnp.ones((1, 1), jnp.int32), jnp.ones((1, 1), bool))
    answers = model.answers([jnp.zeros((1, 1, 1, 9))], [jnp.zeros((1, 1, 1, 12))], anchors)
    losses = jax.jit(model.loss)(answers, objects)
    # two are matched; the third is their negative
    assert float(losses.classes) == pytest.approx(1.5 * math.log(3), rel=1e-6)
    assert float(losses.boxes) > 0
