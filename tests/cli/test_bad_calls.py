"""Hundreds of calls with bad input, on the command line and in Python: each ends in a sentence and writes nothing."""

import io
import itertools
import math
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from rich.console import Console

import jsep
from jsep.bench import BenchConfig
from jsep.cli.main import main
from jsep.compress import Options
from jsep.errors import UserError
from jsep.export import export_run
from jsep.models import model_info
from jsep.port import from_torch, read_state
from jsep.runs.config import save_config
from jsep.runs.decomposition import TrainedRun
from jsep.runs.evaluate import evaluate_run
from jsep.runs.experiments import find_experiment, load_experiment
from jsep.runs.training import train
from jsep.tpu.chips import Target
from jsep.train import Augmentation, Data, Objective, Optimizer, Recipe, RunConfig, Schedule

PARTS = (Recipe, Data, Augmentation, Optimizer, Schedule, Objective)
NETWORKS = ("separable_cnn", "resnet20", "densenet40_k12", "mobilenet_v1", "mobilenet_v3_small", "shufflenet_v2_x1_0")
LONG = "a" * 300  # longer than a file name may be
# things at the place of a run folder or a file, see `mess`
THINGS = ("nowhere", "empty_folder", "empty", "junk", "junk.safetensors", "junk.pth", "кот/ñ", LONG, "run/config.json")
BROKEN_CONFIGS = {
    "empty": b"",
    "list": b"[]",
    "latin": b"\xe9",
    "model": b'{"format": 2, "model": "resnet"}',
    "option": b'{"format": 2, "options": ["width=-1"]}',
    "lr": b'{"format": 2, "lr": "high"}',
    "nan": b'{"format": 2, "momentum": NaN}',
    "field": b'{"format": 2, "learning_rate": 1}',
}


class Call(NamedTuple):
    """A call with bad input: the words after `jsep`, or a name and a function to call."""

    words: tuple[str, ...]
    function: Callable[[], Any] | None = None

    def __str__(self) -> str:
        return " ".join(self.words).encode("ascii", "replace").decode()[:80]


def wrong_words(hint: Any) -> Iterator[str]:
    """Yield words that no flag of this type takes."""
    if isinstance(hint, types.UnionType):
        yield from wrong_words(hint.__args__[0])
    elif typing.get_origin(hint) is Literal:
        yield from ("zscore", "", "ñ")
    elif typing.get_origin(hint) is tuple:
        if (kind := typing.get_args(hint)[0]) is not str:
            yield from wrong_words(kind)
    elif hint is int:
        yield from ("-1", "nan", "1.5", "many", "")
    elif hint is float:
        yield from ("-1", "nan", "inf", "high", "")


def flags(part: type) -> Iterator[tuple[str, str]]:
    """Yield every flag of a dataclass with every wrong word."""
    for name, hint in typing.get_type_hints(part).items():
        flag = part.__name__.lower() if name == "name" else name
        for word in wrong_words(hint):
            yield f"--{flag.replace('_', '-')}", word


def commands() -> Iterator[tuple[str, ...]]:
    """Yield commands with bad input."""
    yield from ((word,) for word in ("trian", "", "ñ", "--verbose", LONG))
    for part in PARTS:
        yield from (("train", *pair) for pair in flags(part))
    yield from (("bench", "mobilenet_v1", *pair) for pair in flags(BenchConfig))
    yield from (("tpu", "mobilenet_v1", *pair) for pair in flags(Target))
    for command, name in itertools.product(("show", "train", "bench", "tpu", "port"), ("resnet21", "", "ñ", LONG)):
        yield (command, name, *(("--check",) if command == "port" else ()))
    for name in NETWORKS:
        for option, hint in model_info(name).options.items():
            words = ("-1", "zscore") if hint in (int, float, bool) else ("zscoré",) if hint is not str else ()
            yield from (("show", name, "--options", f"{option}={word}") for word in words)
        yield from (("show", name, "--options", word) for word in ("nothing=1", "width", "=", "=1"))
    for thing in THINGS:
        yield ("eval", thing)
        yield ("export", thing, "--to", "safetensors")
        yield ("predict", thing, "junk")
        yield ("predict", "run", thing)
        yield ("decompose", thing)
        yield ("train", "--resume", "--out", thing)
        yield ("train", "--init", thing, "--image-size", "8")
        yield ("train", "--teacher", thing, "--image-size", "8")
        yield ("port", "resnet20", thing)
        yield ("eval", "run", "--data", f"./{thing}")
        if thing not in ("empty_folder",):
            yield ("compare", thing)
        if thing.startswith("junk") or thing == "empty":
            yield ("train", "--out", thing, "--image-size", "8")
            yield ("data", "prepare", "cifar10", "--data-dir", thing)
    for name in BROKEN_CONFIGS:
        run = f"broken_{name}"
        yield from (("eval", run), ("export", run, "--to", "onnx"), ("decompose", run))
        yield from (("train", "--resume", "--out", run), ("train", "--init", run))
    for word in ("first", "", "-1", "1.5", "ñ", "9" * 30):
        yield ("eval", "run", "--checkpoint", word)
        yield ("decompose", "run", "--checkpoint", word)
    for command in ("eval", "decompose", "export", "predict"):
        yield (command,)
        yield (command, "run", "--unknown")
        yield (command, "run", "too", "many")
    yield from (("models", pattern) for pattern in ("nothing*", "", "[", "ñ"))
    yield from (("data", word) for word in ("", "prepar", "--list"))
    yield from (("data", "prepare", word) for word in ("cifar", "", "./empty", "ñ"))
    yield from (
        ("show", "resnet20", "--input", *size)
        for size in (("0", "0", "3"), ("-1", "8", "3"), ("8", "8"), ("a", "b", "c"))
    )
    yield from (("show", "resnet20", "--num-classes", word) for word in ("0", "-1", "many", "nan"))
    yield ("train", "--processes", "2")
    yield ("train", "--coordinator", "here", "--processes", "2", "--process-id", "0")
    yield ("train", "--coordinator", "auto", "--processes", "2")
    yield ("port", "resnet20", "junk.pth", "--check")
    yield ("port", "resnet20")
    yield ("compare", "--models", "--seeds", "1")
    yield ("compare", "--models", "resnet20", "resnet20")
    yield ("train", "--mean", "0.5", "--std")
    yield ("train", "--stream", "--image-size", "8")


QUIET = Console(file=io.StringIO())
STATE = {"conv1.weight": np.zeros((16, 3, 3, 3), np.float32)}
TEXTS: Any = ("", "ñ", LONG)
VALUES: Any = (None, 3, 1.5, math.nan, True, [], {}, b"x", ..., *TEXTS)


def all_but(*right: Any) -> list[Any]:
    return [value for value in VALUES if not any(value is other for other in right)]


def functions() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield calls in Python with bad input."""
    paths = tuple(value for value in VALUES if not isinstance(value, str)) + tuple(map(Path, ("", *THINGS)))
    for text in TEXTS:
        yield f"create_model({text!r})", lambda text=text: jsep.create_model(text)
        yield f"model_info({text!r})", lambda text=text: jsep.model_info(text)
        yield f"from_torch({text!r})", lambda text=text: from_torch(text, STATE)
    for value in all_but(*TEXTS):
        yield f"checkpoint={value!r}", lambda value=value: evaluate_run(Path("run"), value)
    for value in all_but(3):
        yield f"depth={value!r}", lambda value=value: jsep.create_model("resnet20", depth=value)
        yield f"batch_size={value!r}", lambda value=value: Recipe(batch_size=value)
    for value in all_but(None):
        yield f"input_shape={value!r}", lambda value=value: BenchConfig(input_shape=value)
    for value in VALUES:
        yield f"milestones={value!r}", lambda value=value: Schedule(milestones=value)
        yield f"optimizer={value!r}", lambda value=value: Optimizer(value)
        yield f"mean={value!r}", lambda value=value: Data(mean=value)
        yield f"train({value!r})", lambda value=value: train(value, Path("new"), console=QUIET)
        yield f"to={value!r}", lambda value=value: export_run(Path("run"), value)
    for value in paths:
        yield f"evaluate_run({value!r})", lambda value=value: evaluate_run(value)
        yield f"export_run({value!r})", lambda value=value: export_run(value, "safetensors")
        yield f"TrainedRun.open({value!r})", lambda value=value: TrainedRun.open(value)
        if isinstance(value, Path) and value.name != LONG:
            yield f"read_state({value!r})", lambda value=value: read_state(value)
    yield "evaluate_run, no such field", lambda: evaluate_run(Path("run"), batch=3)
    yield "evaluate_run, wrong type", lambda: evaluate_run(Path("run"), batch_size="3")
    yield "Options", lambda: Options(VALUES[0])
    for name in ("nowhere", "empty", "junk", "empty_folder"):
        yield f"experiment {name}", lambda name=name: load_experiment(find_experiment(name))


CALLS = [*map(Call, commands()), *(Call((name,), function) for name, function in functions())]


@pytest.fixture(scope="module")
def mess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files that are no weights and folders that are no runs."""
    home = tmp_path_factory.mktemp("mess")
    for name in ("junk", "junk.safetensors", "junk.pth"):
        (home / name).write_bytes(bytes(range(256)))
    (home / "empty").touch()
    (home / "empty_folder").mkdir()
    (home / "run").mkdir()
    save_config(RunConfig(), home / "run" / "config.json")  # without a checkpoint
    for name, content in BROKEN_CONFIGS.items():
        (home / f"broken_{name}").mkdir()
        (home / f"broken_{name}" / "config.json").write_bytes(content)
    return home


def listing(home: Path) -> list[tuple[Path, int]]:
    return [(path, path.stat().st_mtime_ns) for path in sorted(home.rglob("*"))]


def check(call: Call, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    before = listing(home)
    if call.function:
        with pytest.raises(UserError) as caught:
            call.function()
        said = str(caught.value)
    else:
        assert main(call.words) == 2
        said = capsys.readouterr().err
    assert re.fullmatch(r"[^\n]{20,}\n?", said)
    assert "jsep: ;" not in said
    assert listing(home) == before


def test_there_are_five_hundred():
    assert len(CALLS) >= 500


@pytest.mark.parametrize("call", CALLS[:: len(CALLS) // 40], ids=str)
def test_a_sample_ends_in_a_sentence(call, mess, capsys, monkeypatch):
    check(call, mess, capsys, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_every_call_ends_in_a_sentence(call, mess, capsys, monkeypatch):
    check(call, mess, capsys, monkeypatch)
