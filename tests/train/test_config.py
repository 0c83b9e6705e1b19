"""Configs: checks, options, and JSON that comes back equal."""

from pathlib import Path

import pytest

from jsep.errors import UserError
from jsep.train import Comparison, Recipe, RunConfig
from jsep.train.config import load_config, save_config


def test_json_round_trip(tmp_path):
    config = RunConfig(
        model="both_cnn", options=("width=0.5",), data_dir=Path("/data"), milestones=(0.3,), flip=True, lr=0.1
    )
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "cannot be read as JSON"), ('{"epoch": 3}', "'epoch'.*did you mean epochs")]
)
def test_a_broken_config_file(tmp_path, text, sentence):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        load_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", 0), ("lr", -1.0), ("label_smoothing", 1.0), ("warmup_epochs", 15.0), ("seed", -1)],
)
def test_impossible_values_name_their_flag(field, value):
    with pytest.raises(UserError, match=f"--{field.replace('_', '-')} {value}: it must be"):
        Recipe(**{field: value})


def test_a_comparison_is_every_network_with_every_seed():
    runs = Comparison("t", ("regular_cnn", "both_cnn"), Recipe(seed=3, lr=0.5), seeds=2).runs()
    assert [(run.model, run.seed) for run in runs] == [
        ("regular_cnn", 3),
        ("regular_cnn", 4),
        ("both_cnn", 3),
        ("both_cnn", 4),
    ]
    assert {run.lr for run in runs} == {0.5}


def test_a_network_of_a_comparison_may_have_options_of_its_own():
    comparison = Comparison("t", ("both_cnn", "both_cnn width=0.5"), Recipe(options=("momentum=0.9",)))
    plain, narrow = comparison.runs()
    assert (plain.model, plain.options) == ("both_cnn", ("momentum=0.9",))
    assert (narrow.model, narrow.options) == ("both_cnn", ("momentum=0.9", "width=0.5"))
    assert [comparison.label(run) for run in (plain, narrow)] == list(comparison.models)


@pytest.mark.parametrize("changes", [{"seeds": 0}, {"models": ()}, {"models": ("both_cnn", "both_cnn")}])
def test_an_impossible_comparison(changes):
    with pytest.raises(UserError):
        Comparison(**{"title": "t", "models": ("both_cnn",), "recipe": Recipe()} | changes)
