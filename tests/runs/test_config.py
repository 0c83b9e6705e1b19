"""Configs: checks, options, and the round trip through JSON."""

import json
from pathlib import Path

import pytest

from jsep.errors import UserError
from jsep.runs.comparison import Comparison
from jsep.runs.config import load_config, replace_fields, save_config
from jsep.train import Recipe, RunConfig


def test_json_round_trip(tmp_path):
    changes = {"data": "cifar10", "data_dir": Path("/data"), "milestones": (0.3,), "flip": True, "lr": 0.1}
    config = replace_fields(RunConfig("both_cnn", {"width": 0.5}), {**changes, "optimizer": "sgd"})
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config


def test_a_config_from_before_options_were_renamed_opens(tmp_path):
    """A file without a format has older names of options, in text form, and today's fields."""
    old = {"model": "resnet20", "options": ["depth=8", "separable=sep_bn", "se=True"], "lr": 0.1, "freeze": ["stem"]}
    (tmp_path / "config.json").write_text(json.dumps(old))
    config = load_config(tmp_path / "config.json")
    assert config.options == {"depth": 8, "conv": "separable_bn", "attention": "se"}
    assert (config.recipe.schedule.lr, config.recipe.optimizer.freeze) == (0.1, ("stem",))


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
def test_impossible_values_name_their_parameter(field, value):
    with pytest.raises(UserError, match=f"`{field}`={value}: it must be"):
        replace_fields(Recipe(), {field: value})


def test_a_comparison_is_every_network_with_every_seed():
    runs = Comparison("t", ("regular_cnn", "both_cnn"), Recipe(seed=3, batch_size=5), seeds=2).runs()
    assert {text: [(run.model, run.recipe.seed) for run in own] for text, own in runs.items()} == {
        "regular_cnn": [("regular_cnn", 3), ("regular_cnn", 4)],
        "both_cnn": [("both_cnn", 3), ("both_cnn", 4)],
    }
    assert {run.recipe.batch_size for own in runs.values() for run in own} == {5}


def test_a_network_of_a_comparison_may_have_options_of_its_own():
    comparison = Comparison("t", ("both_cnn", "both_cnn width=0.5"), Recipe(), {"momentum": 0.9})
    (plain,), (narrow,) = comparison.runs().values()
    assert (plain.model, plain.options) == ("both_cnn", {"momentum": 0.9})
    assert (narrow.model, narrow.options) == ("both_cnn", {"momentum": 0.9, "width": 0.5})


@pytest.mark.parametrize("changes", [{"seeds": 0}, {"models": ()}, {"models": ("both_cnn", "both_cnn")}])
def test_an_impossible_comparison(changes):
    with pytest.raises(UserError):
        Comparison(**{"title": "t", "models": ("both_cnn",), "recipe": Recipe()} | changes)
