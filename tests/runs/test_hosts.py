"""Several processes on this machine train like one; if one dies, the others stop, and all resume together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from jax.tree_util import tree_leaves_with_path

from jsep.cli.main import main
from jsep.errors import UserError
from jsep.runs.checkpoint import Checkpoints
from jsep.train.hosts import Hosts

STEPS = 21
DEVICES = 8  # of all processes together


def words(data, out, *more) -> list[str]:
    recipe = ["--optimizer", "sgd", "--lr", "0.01", "--crop", "1", "--flip", "--batch-size", "16", "--epochs", "7"]
    return ["train", "both_cnn", "--options", "width=0.02", "--data", str(data), *recipe, "--out", str(out), *more]


def start(number: int, *command: str) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // number}"}
    where = ["--coordinator", f"localhost:{port}", "--processes", str(number)]
    return [
        subprocess.Popen(
            [sys.executable, "-m", "jsep", *command, *where, "--process-id", str(i)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(number)
    ]


def finish(processes: list[subprocess.Popen], seconds: float = 900) -> list[tuple[int, str, str]]:
    return [(process.returncode, *said) for process in processes if (said := process.communicate(timeout=seconds))]


def arrays(out) -> dict[str, np.ndarray]:
    checkpoints = Checkpoints(out)
    state = checkpoints.on_host(checkpoints.find("last"))
    checkpoints.close()
    return {str(path): np.asarray(leaf) for path, leaf in tree_leaves_with_path(state)}


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_processes_train_as_one(number, tmp_path, tiny_tfds):
    together, alone = tmp_path / "together", tmp_path / "alone"
    said = finish(start(number, *words(tiny_tfds, together)))
    assert [code for code, _, _ in said] == [0] * number, said
    assert ["epoch 7" in out for _, out, _ in said] == [True] + [False] * (number - 1)  # only one of them prints
    assert main(words(tiny_tfds, alone)) == 0
    expected, found = arrays(alone), arrays(together)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        # 1e-7 is the rounding of a gradient's sum over images that cancel
        assert np.max(np.abs(found[name] - value)) <= 1e-5 * np.max(np.abs(value)) + 1e-7, name
    logs = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in (alone, together)]
    assert logs[0]["step"] == logs[1]["step"] == STEPS
    assert logs[0]["val_accuracy"] == logs[1]["val_accuracy"]  # of 20 images, each counted once
    assert logs[0]["val_loss"] == pytest.approx(logs[1]["val_loss"], rel=1e-5)


@pytest.mark.slow
def test_when_one_dies_the_others_stop_and_all_go_on_to_the_same_bits(tmp_path, tiny_tfds):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for code, _, said in finish(start(2, *words(tiny_tfds, whole))):
        assert code == 0, said
    processes = start(2, *words(tiny_tfds, killed))
    while len(list(killed.glob("checkpoints/*/_CHECKPOINT_METADATA"))) < 1:
        assert processes[0].poll() is None, processes[0].communicate()
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    died = time.monotonic()
    (code, _, said), _ = finish(processes)
    assert time.monotonic() - died < 60
    assert code == 1
    assert "another process is gone" in said
    for code, _, said in finish(start(2, *words(tiny_tfds, killed, "--resume"))):
        assert code == 0, said
    expected, found = arrays(whole), arrays(killed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
def test_processes_stop_early_together(tmp_path, tiny_tfds):
    out = tmp_path / "run"
    said = finish(start(2, *words(tiny_tfds, out, "--lr", "1e-12", "--patience", "1")))
    assert [code for code, _, _ in said] == [0, 0], said
    assert "Stopped early at epoch 2: no better accuracy since epoch 1." in said[0][1]
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"processes": 2, "process_id": 0}, "need `coordinator`"),
        ({"coordinator": "somewhere"}, "give HOST:PORT"),
        ({"coordinator": "a:1"}, "needs `processes`"),
        ({"coordinator": "a:1", "processes": 2, "process_id": 2}, "there are 2 processes, counted from 0"),
    ],
)
def test_what_does_not_name_a_process_is_refused(given, sentence):
    with pytest.raises(UserError, match=sentence):
        Hosts(**given)


def test_the_environment_of_slurm_and_of_a_tpu_pod_is_seen(monkeypatch):
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    assert not Hosts().several
    assert Hosts("auto").several
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    assert not Hosts().several
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "one,two")
    assert Hosts().several
    monkeypatch.delenv("TPU_WORKER_HOSTNAMES")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert Hosts().several
