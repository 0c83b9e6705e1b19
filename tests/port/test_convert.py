"""State dicts become variables by name; mismatches are reported, and nothing is guessed."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jsep.errors import UserError
from jsep.models import create_model, list_models, model_info
from jsep.port import from_torch, port_state, read_state
from jsep.port.convert import torch_name
from jsep.port.names import layouts
from jsep.trees import flatten


@pytest.fixture
def state(resnet8_state):
    return resnet8_state(7)


def test_every_array_is_where_its_name_says(state):
    variables = from_torch("resnet20", state, depth=8, shortcut="pad_split")
    params, stats = variables["params"], variables["batch_stats"]
    # OIHW -> HWIO, (O, I) -> (I, O)
    assert params["stem"]["kernel"][2, 1, 0, 5] == state["conv1.weight"][5, 0, 2, 1]
    assert params["classifier"]["kernel"][3, 6] == state["linear.weight"][6, 3]
    assert np.array_equal(params["stage2_block1_conv2_norm"]["scale"], state["layer2.0.bn2.weight"])
    assert np.array_equal(stats["stage3_block1_conv1_norm"]["var"], state["layer3.0.bn1.running_var"])
    model = create_model("resnet20", depth=8, num_classes=7)
    wanted = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert jax.tree.structure(variables) == jax.tree.structure(wanted)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: s.pop("layer2.0.bn2.bias"), "needs layer2.0.bn2.bias, which is missing"),
        (lambda s: s.update(extra=np.zeros(3)), "extra belongs to no layer"),
        (lambda s: s.update({"conv1.weight": np.zeros((16, 3, 5, 5))}), r"has the shape \(3, 3, 3, 16\)"),
        (lambda s: s.pop("linear.weight"), "needs linear.weight"),
    ],
)
def test_what_does_not_fit_is_named(state, spoil, sentence):
    spoil(state)
    with pytest.raises(UserError, match=sentence) as refusal:
        from_torch("resnet20", state, depth=8)
    assert len(str(refusal.value).splitlines()) == 1


def test_names_of_something_else_are_shown(state):
    with pytest.raises(UserError, match=r"its names are like conv1\.0\.weight, .*, none of which this network has"):
        from_torch("resnet20", {name.replace(".", ".0."): value for name, value in state.items()})


def test_options_that_shapes_do_not_show_must_be_those_of_the_layout(state):
    with pytest.raises(UserError, match=r"names of akamaster/.*, whose resnet20 needs shortcut='pad_split': give that"):
        from_torch("resnet20", state, depth=8)
    from_torch("resnet20", state, depth=8, shortcut="pad")  # the user may know better


def test_the_number_of_classes_is_that_of_the_weights(state):
    own = {"depth": 8, "shortcut": "pad_split"}
    assert from_torch("resnet20", state, num_classes=7, **own)["params"]["classifier"]["bias"].shape == (7,)
    with pytest.raises(UserError, match="`num_classes`=5: the weights have 7 classes; leave it out"):
        from_torch("resnet20", state, num_classes=5, **own)


def test_input_channels_are_those_of_the_first_kernel(state):
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    assert from_torch("resnet20", state, depth=8, shortcut="pad_split")["params"]["stem"]["kernel"].shape[2] == 1


@pytest.mark.parametrize("where", ["linear.weight", "conv1.weight", "bn1.bias"])
def test_arrays_without_axes_are_refused(state, where):
    state[where] = np.float32(3)
    with pytest.raises(UserError, match=rf"{where} gives \(\)"):
        from_torch("resnet20", state, depth=8)


@pytest.mark.slow
def test_an_auxiliary_head_is_left_out(drawn):
    """As torchvision publishes Inception V3."""
    model = create_model("inception_v3", num_classes=3)
    (layout,) = layouts(model)
    state = {}
    for path, array in flatten(drawn(model, (1, 96, 96, 3))).items():
        value = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        state[torch_name(path, layout)] = value
    state |= {"AuxLogits.conv0.conv.weight": np.ones((128, 768, 1, 1)), "AuxLogits.fc.bias": np.ones(3)}
    found = port_state("inception_v3", state, {})
    assert found.unused == ("AuxLogits.conv0.conv.weight", "AuxLogits.fc.bias")


def test_ecanet_has_names_of_its_own(drawn):
    model = create_model("eca_resnet18", num_classes=3, width=0.1)
    state = {}
    for path, array in flatten(drawn(model, (1, 32, 32, 3))).items():
        value = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        state[torch_name(path, layouts(model)[0]).replace(".se.conv.", ".eca.conv.")] = value
    assert "layer1.0.eca.conv.weight" in state
    assert port_state("eca_resnet18", state, {"width": 0.1}).layout.source == "BangguWu/ECANet"


def test_a_network_without_reference_says_so():
    with pytest.raises(UserError, match="no public PyTorch reference"):
        from_torch("separable_cnn", {})


def test_every_network_with_a_reference_has_names():
    for name in list_models():
        for reference, options in model_info(name).references.items():
            package = reference.partition(":")[0]
            assert [n for n in layouts(create_model(name, **options)) if package in n.source], reference


def test_files_that_cannot_be_read(tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing of the kind")
    for path, sentence in [
        (broken, "cannot be read as safetensors"),
        (tmp_path / "none.safetensors", "is not a file"),
        (tmp_path, "is not a file"),
    ]:
        with pytest.raises(UserError, match=sentence):
            read_state(path)
    (tmp_path / "weights.npz").touch()
    with pytest.raises(UserError, match=r"is a \.npz file"):
        read_state(tmp_path / "weights.npz")


def test_safetensors_come_back_equal(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    found = read_state(tmp_path / "w.safetensors")
    assert all(np.array_equal(found[name], value) for name, value in state.items())


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pth_files_are_tensors_or_nothing(tmp_path, state):
    torch = pytest.importorskip("torch", reason="reads .pth files")
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    for number, whole in enumerate((tensors, {"state_dict": tensors, "epoch": 3})):
        torch.save(whole, tmp_path / f"{number}.pth")
        found = read_state(tmp_path / f"{number}.pth")
        assert all(np.array_equal(found[name], value) for name, value in state.items())
    torch.save({"state_dict": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with pytest.raises(UserError, match="nothing but tensors"):
        read_state(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
    whole = (tmp_path / "0.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut off .*: download it again"):
        read_state(tmp_path / "cut.pth")
