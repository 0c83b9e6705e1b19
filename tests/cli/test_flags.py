"""The flags of commands: paths, and the settings that an earlier run gives."""

import shlex
from pathlib import Path

import pytest
from sample_rows import result

from jsep.cli import main
from jsep.cli import train as cli_train
from jsep.cli.evaluate import _print_classes
from jsep.cli.export import _print_int8
from jsep.cli.flags import parse
from jsep.cli.train import Train, _base
from jsep.errors import UserError
from jsep.export.int8 import Int8Report, Scale
from jsep.runs.by_class import ByClass, ClassRow
from jsep.runs.config import recipe_flags, replace_fields
from jsep.runs.experiments import find_experiment, load_experiment
from jsep.runs.folder import RunFolder
from jsep.train import Recipe, RunConfig


@pytest.mark.parametrize("flag", ["--out", "--init", "--teacher", "--data-dir"])
def test_paths_are_local_and_home_is_expanded(flag):
    found = parse(Train, "train", [flag, "~/here"])
    data, objective = found.recipe.data, found.recipe.objective
    assert Path.home() / "here" in (found.out, found.init, data.data_dir, objective.teacher)
    with pytest.raises(UserError, match="gs://bucket/x is not on this machine"):
        parse(Train, "train", [flag, "gs://bucket/x"])
    assert parse(Train, "train", ["--init", "None"]).init is None


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--data", "gs://b/set"],
        ["train", "--resume", "--out", "gs://b/run"],
        ["eval", "gs://b/run"],
        ["export", "gs://b/run", "--to", "onnx"],
        ["decompose", "gs://b/run"],
        ["decompose", "run", "--write-plan", "gs://b/plan"],
        ["port", "resnet20", "https://host/w.pth"],
        ["bench", "--out", "gs://b/bench"],
        ["compare", "--out", "gs://b/runs"],
        ["data", "list", "--data-dir", "gs://b/sets"],
    ],
)
def test_urls_end_in_one_sentence(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert main.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_a_run_to_begin_with_gives(tmp_path):
    """Its weights keep the statistics that they were trained with; splits belong to its data set."""
    fields = {"mean": (0.5,), "std": (0.2,), "train_split": "train[:90%]", "eval_split": "train[90%:]", "lr": 0.25}
    fields |= {"image_size": 224, "eval_size": 256}
    RunFolder.create(tmp_path / "run", replace_fields(RunConfig(), fields))
    words = ["--init", str(tmp_path / "run"), "--out", str(tmp_path / "new")]
    kept, other, anew = (_base([*words, *more]).recipe for more in ([], ["--data", "x"], ["--normalize", "dataset"]))
    assert [recipe.data.mean for recipe in (kept, other, anew)] == [(0.5,), (0.5,), ()]
    assert [recipe.data.train_split for recipe in (kept, other, anew)] == ["train[:90%]", "", "train[:90%]"]
    smaller = _base([*words, "--image-size", "128"]).recipe
    assert [recipe.data.eval_size for recipe in (kept, other, smaller)] == [256, 256, 0]
    assert {recipe.schedule.lr for recipe in (kept, other, anew)} == {0.25}


def test_several_seeds_are_shown_with_their_mean_and_take_the_settings_of_the_first(capsys, tmp_path, monkeypatch):
    asked = []

    def train_seeds(config, seeds, out, *, resume, console):
        asked.append((config.recipe.schedule.lr, seeds, out, resume))
        return [result("both_cnn", seed, accuracy=0.5 + seed / 10, best_accuracy=0.9) for seed in seeds]

    monkeypatch.setattr(cli_train, "train_seeds", train_seeds)
    RunFolder.create(tmp_path / "seed4", replace_fields(RunConfig("both_cnn"), {"lr": 0.25}))
    assert main.main(["train", "--resume", "--seeds", "4", "2", "--out", str(tmp_path)]) == 0
    assert asked == [(0.25, (4, 2), tmp_path, True)]
    said = capsys.readouterr().out.splitlines()
    assert [line.split() for line in said[:3]] == [
        ["seed", "accuracy", "best", "accuracy", "best", "epoch"],
        ["4", "90.00%", "90.00%", "1"],
        ["2", "70.00%", "90.00%", "1"],
    ]
    assert said[3].startswith(
        "both_cnn: accuracy 80.00% ± 14.14% (best 90.00% ± 0.00%), mean and standard deviation of 2"
    )
    assert said[4] == f"Next: jsep eval {tmp_path}/seed4"


def test_single_things_and_integers_are_printed_as_one_writes_them(capsys):
    _print_int8(Int8Report(True, 9, "extremes", Scale(1 / 255, -128), Scale(0.5, 3), 1, 1, 1, 1, 10, 10))
    _print_classes(ByClass((ClassRow("cat", 0.0, 0.0, 0.0, 1),), "f1", 1, (Path("eval/per_class.csv"),)))
    said = capsys.readouterr().out
    assert "is 0.003921569 * (integer + 128), and a logit is 0.5 * (integer - 3)" in said
    assert "Accuracy on 1 test image: 100.00% in float32" in said
    assert "\n1 mistake. In eval: per_class.csv" in said


def test_the_flags_in_a_row_of_results_give_its_recipe():
    experiment, _ = load_experiment(find_experiment("mobilenet_v1_width"))
    config = experiment.runs()["mobilenet_v1"][0]
    words = shlex.split(recipe_flags(config))
    assert not set(words) & {"--data", "--epochs", "--batch-size", "--seed", "--devices"}
    rest = ["--data", "imagenet2012", "--epochs", "100", "--batch-size", "256"]
    assert parse(Train, "train", [config.model, *words, *rest]).recipe == config.recipe
    assert recipe_flags(RunConfig("resnet20", {"depth": 8}, Recipe(seed=3, batch_size=7))) == ""
