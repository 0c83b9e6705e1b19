"""Training steps compiled for absent TPUs. Tests that need the compiler are skipped without libtpu."""

import importlib.util

import pytest

from jsep.cli.main import main
from jsep.costs import count
from jsep.errors import UserError
from jsep.models import create_model
from jsep.tpu.chips import Target, describe
from jsep.tpu.estimate import DoesNotFit, _refusal, estimate
from jsep.tpu.program import COPIES, OTHER, Share, shares

TINY = {"width": 0.02}
SHAPE = (8, 8, 3)
BATCH = 256

PROGRAM = """
HloModule step

ENTRY %main (p0: bf16[4,8], p1: f32[8]) -> bf16[4,8] {
  %p0 = bf16[4,8]{1,0:T(8,128)} parameter(0)
  %p1 = f32[8]{0:T(256)} parameter(1)
  %copy-start.1 = (f32[8]{0:T(256)S(1)}, f32[8]{0:T(256)}, u32[]{:S(2)}) copy-start(%p1), cross_program_prefetch_index=0
  %copy-done.1 = f32[8]{0:T(256)S(1)} copy-done(%copy-start.1)
  %fusion.1 = (bf16[4,8]{1,0:T(8,128)(2,1)}, pred[4]{0:S(1)}) fusion(%p0, %copy-done.1), kind=kLoop, calls=%c.1, \
metadata={op_name="jit(_fun)/shard_map/jvp(Net)/conv1/pointwise/dot_general"}, \
backend_config={"window_config":{"estimated_cycles":"70"}}
  %get-tuple-element.1 = bf16[4,8]{1,0:T(8,128)(2,1)} get-tuple-element(%fusion.1), index=0
  %fusion.2 = bf16[4,8]{1,0:T(8,128)} fusion(%get-tuple-element.1), kind=kLoop, calls=%c.2, \
metadata={op_name="jit(_fun)/transpose(jvp(Net))/conv1/pointwise/dot_general"}, \
backend_config={"window_config":{"estimated_cycles":"30"}}
  ROOT %fusion.3 = bf16[4,8]{1,0:T(8,128)} fusion(%fusion.2), kind=kLoop, calls=%c.3, \
metadata={op_name="jit(_fun)/mul"}, backend_config={"window_config":{"estimated_cycles":"5"}}
}
"""


def test_shares_of_a_program():
    """Only HBM counts: 64 bytes for each bf16[4,8], and 32 for the f32[8] that is copied once."""
    assert shares(PROGRAM, ["conv1", "conv1/pointwise"]) == (
        Share("conv1/pointwise", 100, 64 + 64 + 64 + 64),
        Share(OTHER, 5, 64 + 64),
        Share(COPIES, 0, 32),
    )


def test_a_step_too_large_is_a_sentence():
    said = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (20.50G) exceeds available HBM (15.75G). HLO module: jit__fun.\nSee https://openxla.org"
    )
    error = _refusal("resnet50", Target(batch=4096), said)
    assert "needs 20.50 GiB of HBM for temporaries alone on each device of v5e 1x1, which has 15.75GiB: take a" in str(
        error
    )
    assert isinstance(error, DoesNotFit)
    assert error.needed == 20.5 * 2**30


def test_without_libtpu_the_command_says_what_to_install(capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "libtpu" else found(name, *a))
    assert main(["tpu", "separable_cnn"]) == 2
    assert "pip install 'jsep[tpu-compiler]'" in capsys.readouterr().err


@pytest.fixture
def libtpu():
    pytest.importorskip("libtpu", reason="compiling for a TPU needs libtpu")


@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize(
    ("chip", "topology", "sentence"),
    [
        ("v5e", "2x3x", "`topology`=2x3x: v5e has no such topology; did you mean 2x"),
        ("v5e", "ring", "v5e has no such topology; known: 16x16, 1x1"),
    ],
)
def test_unknown_chips_and_topologies(chip, topology, sentence):
    with pytest.raises(UserError, match=sentence.replace("?", r"\?")):
        describe(chip, topology)


@pytest.mark.usefixtures("libtpu")
def test_the_batch_must_be_shared_equally():
    with pytest.raises(UserError, match="`batch`=30: 4 devices of v5e 2x2 cannot share it equally; take 32"):
        estimate("separable_cnn", TINY, Target(topology="2x2", batch=30))


@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize("topology", ["1x1", "2x2"])
def test_a_step_compiles(topology):
    """Adam keeps two arrays beside each parameter; a step costs about three forward passes."""
    found = estimate("separable_cnn", TINY, Target(topology=topology, batch=BATCH, input=SHAPE))
    costs = count(create_model("separable_cnn", width=0.02), SHAPE)
    assert found.devices == found.chips == {"1x1": 1, "2x2": 4}[topology]
    images = BATCH // found.devices
    least = 3 * 4 * costs.params + images * 8 * 8 * 3
    assert least <= found.arguments < found.hbm < found.capacity
    assert 0.5 < found.flops / (3 * 2 * costs.macs * images) < 3
    assert {"conv1/pointwise", "classifier"} <= {share.layer for share in found.shares}
    assert found.images_per_second == pytest.approx(BATCH / found.bound_seconds)
