"""Training steps compiled for absent TPUs. Tests that need the compiler are skipped without libtpu."""

import functools
import importlib.util

import pytest
import tiny_tasks

from jsep.cli.main import main
from jsep.costs import count
from jsep.errors import UserError
from jsep.models import create_model
from jsep.tpu.chips import Target, describe
from jsep.tpu.estimate import DoesNotFit, Estimate, _refusal, estimate, images_in_hbm
from jsep.tpu.program import CALLS, DEVICES, OTHER, PRODUCTS
from jsep.train.detect import DETECTION

TINY = {"width": 0.02}
SHAPE = (8, 8, 3)
BATCH = 256


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


@functools.cache
def tiny(topology: str = "1x1", resident: int = 0) -> Estimate:
    """Return the estimate of a tiny network, compiled once."""
    return estimate("separable_cnn", TINY, Target(topology=topology, batch=BATCH, input=SHAPE, resident=resident))


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
    found = tiny(topology)
    costs = count(create_model("separable_cnn", width=0.02), SHAPE)
    assert found.devices == found.chips == {"1x1": 1, "2x2": 4}[topology]
    images = BATCH // found.devices
    least = 3 * 4 * costs.params + images * 8 * 8 * 3
    assert least <= found.arguments < found.hbm < found.capacity
    assert 0.5 < found.flops / (3 * 2 * costs.macs * images) < 3
    assert {"conv1/pointwise", "classifier", OTHER} <= {share.name for share in found.layers}
    assert min(_code(found, kind) for kind in (PRODUCTS, CALLS)) > 1000
    assert sum(share.code for share in found.layers) == pytest.approx(found.code_cycles, abs=len(found.layers))
    assert found.code_seconds == found.code_cycles / 1.5e9
    assert found.images_per_second == pytest.approx(BATCH / found.bound_seconds)


@pytest.mark.slow
@pytest.mark.usefixtures("libtpu")
@pytest.mark.parametrize("step", ["train", "evaluate"])
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_steps_of_detectors_and_segmenters_compile(task, step):
    with tiny_tasks.registered():
        found = estimate(f"tiny_{task}", {}, Target(topology="2x2", batch=8, dtype="float32", step=step))
    image, targets = 32 * 32 * 3, {"detection": 8 * (16 + 4 + 1), "segmentation": 32 * 32}[task]
    assert (found.images, found.resident) == (2, 0)
    assert found.arguments > 2 * (image + targets)
    assert {"backbone/stem", "backbone/body", OTHER} <= {share.name for share in found.layers}
    assert _code(found, DEVICES) > 0


def test_images_of_detectors_do_not_lie_in_hbm():
    assert images_in_hbm(Target(), (32, 32, 3), DETECTION) == 0
    with pytest.raises(UserError, match="`resident`=7: images of a detector arrive with each step; leave it out"):
        images_in_hbm(Target(resident=7), (32, 32, 3), DETECTION)


@pytest.mark.slow
@pytest.mark.usefixtures("libtpu")
def test_a_resident_set_lies_in_hbm_and_its_images_cost_cycles():
    """The second estimate in this process has code of its own."""
    streamed, found = tiny(), tiny(resident=4000)
    assert found.dataset == 4000 * 8 * 8 * 3
    assert streamed.dataset == 0
    more = found.arguments - streamed.arguments
    assert 0.9 * found.dataset < more + streamed.images * 8 * 8 * 3 < 1.5 * found.dataset
    assert found.code_cycles > streamed.code_cycles
    assert _code(found, PRODUCTS) == pytest.approx(_code(streamed, PRODUCTS), rel=0.05)


def _code(found, kind):
    return next(share.code for share in found.kinds if share.name == kind)


@pytest.mark.parametrize(
    ("side", "resident", "images"), [(32, None, 50_000), (28, None, 50_000), (64, None, 0), (64, 7, 7), (32, 0, 0)]
)
def test_small_images_lie_in_hbm_unless_the_target_says_otherwise(side, resident, images):
    assert images_in_hbm(Target(resident=resident), (side, side, 3)) == images
