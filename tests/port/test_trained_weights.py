"""A publicly trained network, ported and evaluated on the command line."""

from pathlib import Path

import pytest

from jsep.cli.main import main

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "resnet20_cifar10.safetensors"
DATA = SHARED / "tfds" / "cifar10_lossless5k" / "1.0.0"


@pytest.mark.skipif(not (WEIGHTS.is_file() and DATA.is_dir()), reason="the trained ResNet-20 is not beside the project")
def test_the_trained_resnet20_keeps_its_accuracy(capsys, tmp_path):
    out = str(tmp_path / "run")
    assert main(["port", "resnet20", str(WEIGHTS), "--data", str(DATA), "--out", out]) == 0
    assert "shortcut=pad_split" in capsys.readouterr().out  # its names settle that, and the mean and deviation
    assert main(["eval", out]) == 0
    printed = capsys.readouterr().out
    assert "1,000 test images of cifar10_lossless5k" in printed
    assert "accuracy 91.50%" in printed
