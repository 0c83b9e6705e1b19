"""Configs: checks, options, and the round trip through JSON."""

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any

import pytest

from jsep.errors import UserError
from jsep.results import Result
from jsep.runs import several
from jsep.runs.comparison import Comparison
from jsep.runs.config import flat_fields, load_config, replace_fields, save_config
from jsep.runs.folder import RunFolder
from jsep.runs.rows import curve_of
from jsep.train import Augmentation, Data, Objective, Optimizer, Recipe, RunConfig, Schedule


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
    ("content", "sentence"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe{", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[1]", "must hold an object with the fields of a run, not a list"),
        (b"null", "must hold an object"),
        (b'{"format": 3}', "has the format 3"),
        (b'{"format": 2, "epoch": 3}', "There is no field 'epoch'; did you mean epochs"),
        (b'{"format": 2, "model": "resnet21"}', "no model 'resnet21'; did you mean resnet"),
        (b'{"format": 2, "model": "resnet20", "options": ["dept=8"]}', "no option 'dept'; did you mean depth"),
        (b'{"format": 2, "options": ["width"]}', "write it as name=value"),
        (b'{"format": 2, "options": ["width=wide"]}', "option width=wide: it must be a number"),
        (b'{"format": 2, "options": {"width": 1}}', "`options`={'width': 1}: it must be a list of strings"),
        (b'{"format": 2, "factored": ["conv1"]}', "'conv1' is no replacement"),
        (b'{"model": "resnet20", "options": ["separable=[1]"]}', "`options`=.* has no meaning here"),
        (b'{"model": "resnet20", "options": ["conv=7"]}', "option conv=7: it must be"),
    ],
)
def test_a_broken_config_file_is_refused_in_one_sentence(tmp_path, content, sentence):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load_config(tmp_path / "config.json")
    assert str(caught.value).startswith(str(tmp_path / "config.json"))
    assert "\n" not in str(caught.value)


def wrong_values(hint) -> list[Any]:
    """Return values that no field of this type may hold, as JSON has them."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    wrong: list[Any] = [{}, [[1]], math.nan]
    if type(None) not in choices:
        wrong.append(None)
    if str not in choices and Path not in choices:
        wrong.append("zscore")
    if not {int, float} & set(choices):
        wrong.append(3)
    if bool not in choices:
        wrong.append(True)
    if int in choices:
        wrong += [1.5, 1e30]
    if float in choices:
        wrong.append(math.inf)
    if not any(typing.get_origin(choice) is tuple for choice in choices):
        wrong.append([])
    return wrong


FIELDS = {
    name: hint
    for part in (RunConfig, Recipe, Data, Augmentation, Optimizer, Schedule, Objective)
    for name, hint in typing.get_type_hints(part).items()
    if name != "options" and not dataclasses.is_dataclass(hint)
    for name in [part.__name__.lower() if name == "name" else name]
}


def test_the_table_names_every_field():
    assert FIELDS.keys() | {"options"} == flat_fields(RunConfig()).keys()


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_an_edited_config_file_is_checked(field, tmp_path):
    path = tmp_path / "config.json"
    save_config(RunConfig(), path)
    assert load_config(path) == RunConfig()
    kept = json.loads(path.read_text())
    for value in wrong_values(FIELDS[field]):
        path.write_text(json.dumps({**kept, field: value}))
        with pytest.raises(UserError, match=rf"config\.json: .*{field}"):
            load_config(path)


LINE = {"step": 1, "epoch": 1, "seconds": 1.0, "train_loss": math.nan, "train_accuracy": 0, "val_loss": 1.0}
LINE["val_accuracy"] = 0.5  # and no top-5 accuracy, as in earlier versions


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\n", "cannot be read"),
        (json.dumps({**LINE, "val_top5": "high"}).encode() + b"\n", "line 1: 'val_top5' is missing or not a number"),
        (b"junk\n%s", "line 1 is not a JSON object"),
        (b"%s3\n", "line 2 is not a JSON object"),
        (b"%s[]\n%s", "line 2 is not a JSON object"),
        (b"%s{}\n", "line 2: 'step' is missing or not a number"),
        (b'%s{"step": true}\n', "line 2: 'step' is missing or not a number"),
        (b'%s{"step": 2, "epoch": 2, "train_loss": null}\n', "line 2: 'train_loss' is missing or not a number"),
    ],
)
def test_edited_metrics_are_refused_by_line_and_field(tmp_path, content, sentence):
    good = json.dumps(LINE).encode() + b"\n"
    folder = RunFolder.create(tmp_path, RunConfig())
    folder.metrics_path.write_bytes(content.replace(b"%s", good))
    with pytest.raises(UserError, match=rf"metrics\.jsonl.* {sentence}"):
        folder.metrics()
    if "step" in sentence or "cannot" in sentence:
        with pytest.raises(UserError, match=sentence):
            folder.rewind(3)
    folder.metrics_path.write_bytes(good + b'{"step"')  # a process was killed while it wrote
    (point,) = curve_of(RunConfig(), folder.metrics())
    assert (point.val_accuracy, math.isnan(point.val_top5)) == (0.5, True)


@pytest.mark.parametrize("content", [b"", b"model\n", b"\xff\n", b"%s\n", b"%s\n" + b"x" * 300_000])
def test_edited_results_are_refused_in_one_sentence(tmp_path, content):
    header = ",".join(typing.get_type_hints(Result)).encode()
    folder = RunFolder.create(tmp_path, RunConfig())
    folder.results_path.write_bytes(content.replace(b"%s", header))
    with pytest.raises(UserError, match=r"^[^\n]*results\.csv[^\n]*$"):
        several._result(folder)


@pytest.mark.parametrize("content", [None, b"", b'{"step"'])
def test_metrics_without_an_epoch_are_refused(tmp_path, content):
    folder = RunFolder.create(tmp_path, RunConfig())
    if content is not None:
        folder.metrics_path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.jsonl has no epoch"):
        folder.metrics()


def test_a_change_of_no_field_is_refused():
    with pytest.raises(UserError, match="There is no field 'batchsize'; did you mean batch_size"):
        replace_fields(RunConfig(), {"batchsize": 3})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("epochs", 0), ("batch_size", 0), ("lr", -1.0), ("label_smoothing", 1.0), ("warmup_epochs", 15.0)),
        *(("seed", -1), ("head_lr", -1.0), ("patience", -1)),
    ],
)
def test_impossible_values_name_their_parameter(field, value):
    with pytest.raises(UserError, match=f"`{field}`={value}: it must be"):
        replace_fields(Recipe(), {field: value})


@pytest.mark.parametrize("entry", ["stem:", "stem:0", "stem:-1", "stem:1.5", "stem:two", "stem:1:2"])
def test_a_number_of_epochs_that_cannot_be_read_is_refused(entry):
    with pytest.raises(UserError, match=f"`freeze`={entry}: a whole number of epochs, at least 1, must follow"):
        replace_fields(Recipe(), {"freeze": (entry,)})


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
