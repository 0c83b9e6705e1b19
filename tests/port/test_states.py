"""Weights are found in whatever people save around them, and what holds none is refused in a sentence."""

import argparse

import jax
import numpy as np
import pytest

from jsep.errors import UserError
from jsep.port import from_torch, read_state, read_weights
from jsep.port.states import find_state, to_numpy

PLAIN = {"conv1.weight": np.ones((2, 3)), "fc.bias": np.ones(2)}
AVERAGE = {key: 2 * value for key, value in PLAIN.items()}
COUNT = {"n_averaged": np.array(7)}


def under(prefix, state=PLAIN):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        *(under(prefix) for prefix in ("module.", "_orig_mod.", "model.", "module._orig_mod.module.", "any.thing.")),
        {"conv1._orig_mod.weight": PLAIN["conv1.weight"], "_fsdp_wrapped_module.fc.bias": PLAIN["fc.bias"]},
        {"module.conv1.weight": PLAIN["conv1.weight"], "fc.bias": PLAIN["fc.bias"]},  # a part was wrapped
        *({key: PLAIN, "epoch": 1} for key in ("state_dict", "model", "model_state_dict", "net")),
        {"checkpoint": {"state_dict": under("module.")}, "optimizer": {"state": {0: {"exp.weight": np.ones(1)}}}},
        {**PLAIN, "epoch": 3, "lr": np.array(0.1), "name": "x"},
        {"state_dict": PLAIN, "best_state_dict": AVERAGE},
    ],
)
def test_weights_are_found(content):
    assert find_state(content, "w").arrays == PLAIN


@pytest.mark.parametrize(
    "content",
    [
        {"model": PLAIN, "model_ema": AVERAGE},
        {"state_dict": PLAIN, "state_dict_ema": AVERAGE, "arch": "x"},
        {"model": PLAIN, "model_ema": {**under("module.", AVERAGE), **COUNT}},
        {"state_dict": {**under("model."), **under("ema_model.module.", AVERAGE)}},
        {**under("online_model."), **under("ema_model.", AVERAGE), "step": np.array(1)},
        {**PLAIN, **under("ema.", AVERAGE)},
        {**under("model."), **under("ema.", AVERAGE)},
        {"net": under("_orig_mod."), "ema": {"module": AVERAGE, "updates": 7}},
    ],
)
def test_of_weights_and_averages_the_weights_are_taken_unless_the_averages_are_asked_for(content):
    found = find_state(content, "w")
    assert found.arrays == PLAIN
    assert "`average` of jsep port takes averaged weights" in found.notes[-1]
    averaged = find_state(content, "w", average=True)
    assert averaged.arrays == AVERAGE
    assert "averaged" in averaged.notes[0]


@pytest.mark.parametrize(
    "content", [{"model_ema": AVERAGE}, {**under("module.", AVERAGE), **COUNT}, under("ema.", AVERAGE)]
)
def test_averages_alone_are_taken_and_named(content):
    found = find_state(content, "w")
    assert found.arrays == AVERAGE
    assert "The weights are averaged ones" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "average", "sentence"),
    [
        ({0: np.ones(2), 1: np.ones(3)}, False, r"its keys are no names \(0, 1\)"),
        (np.ones(3), False, "it is a ndarray"),
        ({}, False, "it is empty"),
        ({"epoch": 3, "acc": 0.5}, False, "no name ends in weight, they are like epoch, acc"),
        ({"params/stem/kernel": np.ones(2)}, False, "they are jsep's own"),
        ({"generator": PLAIN, "critic": PLAIN}, False, r"several networks \(generator, critic\)"),
        ({"model": PLAIN}, True, "no averaged weights: leave `average` out"),
    ],
)
def test_what_holds_no_weights_is_refused(content, average, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        find_state(content, "w.pth", average=average)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.th", "w.ckpt", "w.bin", "w.tar"])
def test_files_of_torch_hold_more_than_tensors(tmp_path, resnet8_state, name):
    torch = pytest.importorskip("torch", reason="reads .pth files")
    state = resnet8_state(2)
    tensors = {f"module.{key}": torch.nn.Parameter(torch.from_numpy(value)) for key, value in state.items()}
    content = {"model": tensors, "args": argparse.Namespace(model="resnet20", lr=0.1), "epoch": 3}
    torch.save(content, tmp_path / name)
    found = read_weights(tmp_path / name)
    assert found.origin.architecture == "resnet20"
    assert found.state.keys() == state.keys()
    assert all(np.array_equal(found.state[key], value) for key, value in state.items())


FORMS = {
    "plain": lambda state: state,
    "module": lambda state: under("module.", state),
    "compiled": lambda state: under("_orig_mod.", state),
    "lightning": lambda state: {"state_dict": under("model.", state), "epoch": 3},
    "average": lambda state: {"model_ema": under("module.", state)},
    "ema": lambda state: under("ema.", state),
    "net": lambda state: {"net": under("module._orig_mod.", state), "acc": 91.5},
    "counted": lambda state: state | {"bn1.num_batches_tracked": np.array(7)},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_state_dict_gives_the_same_arrays(tmp_path, resnet8_state, form):
    torch = pytest.importorskip("torch", reason="writes the file")

    def tensors(content):
        if isinstance(content, dict):
            return {key: tensors(value) for key, value in content.items()}
        return torch.from_numpy(content) if isinstance(content, np.ndarray) else content

    state = resnet8_state(2)
    torch.save(tensors(FORMS[form](state)), tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert bool(found.notes) == (form in ("average", "ema"))  # it is said that they are averages
    assert found.state.keys() - {"bn1.num_batches_tracked"} == state.keys()
    assert all(np.array_equal(found.state[key], value) for key, value in state.items())


def test_counters_of_batch_norms_change_nothing(resnet8_state):
    state, own = resnet8_state(2), {"depth": 8, "shortcut": "pad_split"}
    counters = {
        key.replace("running_mean", "num_batches_tracked"): np.array(7) for key in state if "running_mean" in key
    }
    counted, wanted = from_torch("resnet20", state | counters, **own), from_torch("resnet20", state, **own)
    jax.tree.map(np.testing.assert_array_equal, counted, wanted)


def test_tensors_of_half_precision_become_float32(resnet8_state):
    torch = pytest.importorskip("torch", reason="makes tensors")
    state = {key: torch.from_numpy(value) for key, value in resnet8_state(2).items()}
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        tensors = {key: value.to(dtype) for key, value in state.items()}
        kernel = from_torch("resnet20", tensors, depth=8, shortcut="pad_split")["params"]["stem"]["kernel"]
        assert kernel.dtype == np.float32
        wanted = tensors["conv1.weight"].float().numpy().transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(kernel, wanted)


def test_tensors_without_plain_values_are_refused():
    torch = pytest.importorskip("torch", reason="makes tensors")
    one = torch.ones(2, 2)
    for tensor in (one.to(torch.float8_e4m3fn), one.to_sparse()):
        with pytest.raises(UserError, match=r"conv\.weight is a tensor of .* that has no plain values"):
            to_numpy("conv.weight", tensor, "w.pth")


@pytest.mark.parametrize(
    ("dtype", "sentence"), [("float8_e4m3fn", "has the dtype F8_E4M3"), ("int8", "has the dtype int8")]
)
def test_safetensors_of_another_dtype_are_refused(tmp_path, resnet8_state, dtype, sentence):
    torch = pytest.importorskip("torch", reason="makes tensors")
    from safetensors.torch import save_file

    kernel = torch.from_numpy(resnet8_state(2)["conv1.weight"]).to(getattr(torch, dtype))
    save_file({"conv1.weight": kernel}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=f"conv1.weight {sentence}: give weights in float32"):
        from_torch("resnet20", read_state(tmp_path / "w.safetensors"))
