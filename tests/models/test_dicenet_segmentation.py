"""DiCENet's decoder against EdgeNets' definition in PyTorch, by the names of EdgeNets, from the same encoder maps."""

import math

import numpy as np
import pytest

from jsep import create_model, ops
from jsep.layers import watch
from jsep.port.convert import torch_name
from jsep.port.names import layouts
from jsep.trees import flatten

torch = pytest.importorskip("torch", reason="the definition needs torch")
functional = torch.nn.functional

SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)
WIDTH, CLASSES = 0.2, 7


class Definition:
    """The decoder as EdgeNets computes it.

    Attributes:
        state: weights by the names of EdgeNets.
    """

    def __init__(self, state):
        self.state = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}

    def br(self, x, name):
        """Batch norm and PReLU."""
        at = f"{name}.0"
        moments = self.state[f"{at}.running_mean"], self.state[f"{at}.running_var"]
        x = functional.batch_norm(x, *moments, self.state[f"{at}.weight"], self.state[f"{at}.bias"])
        return functional.prelu(x, self.state[f"{name}.1.weight"])

    def cbr(self, x, name, groups=1):
        """Convolution, batch norm and PReLU."""
        weight = self.state[f"{name}.0.weight"]
        x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)
        at = f"{name}.1"
        moments = self.state[f"{at}.running_mean"], self.state[f"{at}.running_var"]
        x = functional.batch_norm(x, *moments, self.state[f"{at}.weight"], self.state[f"{at}.bias"])
        return functional.prelu(x, self.state[f"{name}.2.weight"])

    def pool(self, x, name):
        """EfficientPyrPool."""
        x = self.cbr(x, f"{name}.projection_layer.cbr")
        size, channels = x.shape[2:], x.shape[1]
        found = []
        for i, scale in enumerate(SCALES):
            scaled = [max(5, math.ceil(side * scale)) for side in size]
            y = x
            if scale < 1:
                y = functional.adaptive_avg_pool2d(x, scaled)
            elif scale > 1:
                y = functional.interpolate(x, scaled, mode="bilinear", align_corners=True)
            y = functional.conv2d(y, self.state[f"{name}.stages.{i}.weight"], padding=1, groups=channels)
            if scale < 1:
                y = functional.interpolate(y, size, mode="bilinear", align_corners=True)
            elif scale > 1:
                y = functional.adaptive_avg_pool2d(y, size)
            found.append(y)
        y = functional.channel_shuffle(self.br(torch.cat(found, 1), f"{name}.merge_layer.0.br"), len(SCALES))
        y = self.cbr(y, f"{name}.merge_layer.2.cbr", channels)
        last = f"{name}.merge_layer.3"
        y = functional.conv2d(y, self.state[f"{last}.weight"], self.state.get(f"{last}.bias"))
        return self.br(y, f"{name}.br.br") if f"{name}.br.br.0.weight" in self.state else y

    def projected(self, x, name):
        """EfficientPWConv."""
        weight = self.state[f"{name}.expansion_layer.cbr.0.weight"]
        y = self.cbr(x, f"{name}.expansion_layer.cbr", math.gcd(x.shape[1], weight.shape[0]))
        gate = functional.conv2d(x.mean((2, 3), keepdim=True), self.state[f"{name}.wt_layer.1.weight"])
        return y * torch.sigmoid(gate)

    def __call__(self, maps, size):
        y = self.pool(maps[-1], "eff_pool_16x16")
        for side, skip in zip((32, 64, 128), maps[-2::-1], strict=True):
            y = functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
            y = self.br(y + self.projected(skip, f"proj_enc_{side}x{side}"), f"bu_br_{side}x{side}")
            y = self.pool(y, f"eff_pool_{side}x{side}")
        return functional.interpolate(y, size, mode="bilinear", align_corners=True)


@pytest.mark.slow
def test_the_decoder_is_that_of_edgenets(drawn):
    """Some of its maps are smaller than the least side of a scaled map."""
    model = create_model("dicenet_segmentation_x1_0", width=WIDTH, num_classes=CLASSES)
    variables = drawn(model, (1, 96, 64, 3))
    images = np.random.default_rng(1).normal(size=(2, 96, 64, 3)).astype(np.float32)
    found, maps = _decoded(model, variables, images)
    (names,) = layouts(model)
    state = {}
    for path, array in flatten(variables).items():
        gate = path.endswith("_gate/kernel")  # a dense layer here, and a 1x1 convolution there
        array = array[None, None] if gate else array
        state[torch_name(path, names)] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    maps = [torch.from_numpy(np.array(one).transpose(0, 3, 1, 2)) for one in maps]
    want = Definition(state)(maps, (96, 64)).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - want).max() <= 1e-4 * np.abs(want).max()


def _decoded(model, variables, images):
    """Return logits, and the encoder's maps at strides 2, 4, 8 and 16, which other tests compare with a reference."""
    kept = {}

    def note(layer, call, *args, **kwargs):
        y = call(*args, **kwargs)
        if layer.name in ("stem_act", "stem_pool", "backbone"):
            kept[layer.name] = y
        return y

    @ops.jit_inference
    def run(variables, images):
        with watch(note):
            logits = model.apply(variables, images).logits
        stages = kept["backbone"]
        return logits, [kept["stem_act"], kept["stem_pool"], stages["stage1"].maps, stages["stage2"].maps]

    return run(variables, images)
