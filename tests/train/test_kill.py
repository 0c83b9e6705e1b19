"""A run that is killed again and again, and resumed each time, ends with the bits of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
from safetensors.numpy import load_file

KILLS = int(os.environ.get("JSEP_KILLS", "2"))

# trains in a process of its own and writes the final state down, array by array
PROGRAM = """
import sys, jax
from pathlib import Path
from rich.console import Console
from safetensors.numpy import save_file
from jsep.train import RunConfig, loop, train
from jsep.train.checkpoint import Checkpoints
from jsep.train.schedules import learning_rate, make_optimizer
from jsep.train.state import create_state

out = Path(sys.argv[1])
config = RunConfig(model="both_cnn", options=("width=0.02", "momentum=0.9"), epochs=20, batch_size=100, flip=True)
train(config, out, resume=True, console=Console())
setup = loop.prepare(config)
optimizer = make_optimizer(config, learning_rate(config, setup.steps_per_epoch))
like = setup.devices.replicate(create_state(setup.model, optimizer, setup.dataset.image_shape, 0))
state, _ = Checkpoints(out).restore(Checkpoints(out).find("last"), like)
leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
save_file({jax.tree_util.keystr(path): leaf for path, leaf in leaves}, out / "final.safetensors")
"""


def start(out):
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-c", PROGRAM, str(out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_killed_and_resumed_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    _, said = (process := start(whole)).communicate(timeout=300)
    assert process.returncode == 0, said
    usual = time.monotonic() - started
    moments = random.Random(0)
    kills = 0
    while kills < KILLS:
        process = start(killed)
        try:
            process.wait(timeout=moments.uniform(0.1, 0.9) * usual)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        else:  # it finished sooner than it was to be killed: begin again from less
            assert process.communicate() and process.returncode == 0
            break
    _, said = (process := start(killed)).communicate(timeout=300)
    assert process.returncode == 0, said
    expected, found = load_file(whole / "final.safetensors"), load_file(killed / "final.safetensors")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    lines = [(path / "metrics.jsonl").read_text().count("\n") for path in (whole, killed)]
    assert lines == [20, 20]
