"""A run that is killed and resumed several times ends with the same bits as one that was not."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

KILLS = int(os.environ.get("JSEP_KILLS", "2"))
EPOCHS = 10 * KILLS  # enough that it does not finish before the last kill

# trains in a separate process and saves the final state, array by array
PROGRAM = """
import sys, jax
from pathlib import Path
from rich.console import Console
from safetensors.numpy import save_file
from jsep.runs.begin import begin
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.training import train
from jsep.train import Data, Recipe, RunConfig, Schedule
from jsep.train.setup import prepare
from jsep.trees import flatten

out = Path(sys.argv[1])
recipe = Recipe(Data(image_size=8), schedule=Schedule(epochs=int(sys.argv[2])), batch_size=100)
config = RunConfig("both_cnn", {"width": 0.02, "momentum": 0.9}, recipe)
train(config, out, resume=True, console=Console())
setup = prepare(config)
like = setup.devices.replicate(begin(setup, Console(), anew=True).state)
state, _ = Checkpoints(out).restore(Checkpoints(out).find("last"), like)
save_file(flatten(jax.device_get(state)), out / "final.safetensors")
"""


def start(out):
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-c", PROGRAM, str(out), str(EPOCHS)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(out):
    process = start(out)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return load_file(out / "final.safetensors")


def epochs_logged(out) -> int:
    log = out / "metrics.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = finish(whole)
    moments = random.Random(0)
    for _ in range(KILLS):
        process, before = start(killed), epochs_logged(killed)
        # some while it starts, the others at any point after an epoch or more
        if moments.random() < 0.8:
            while epochs_logged(killed) <= before and process.poll() is None:
                time.sleep(0.01)
        time.sleep(moments.uniform(0, 2))
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    found = finish(killed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert epochs_logged(whole) == epochs_logged(killed) == EPOCHS
