"""Every experiment can be begun: it loads, its networks exist with their options, its lab book is whole."""

import re
from pathlib import Path

import pytest

from jsep.costs import count
from jsep.experiment import find_experiment, load_experiment
from jsep.models import create_model, model_info, parse_options

FOLDER = find_experiment("depthwise_separable_cnn").parent
FILES = [path for path in sorted(FOLDER.glob("*.py")) if "Comparison(" in path.read_text()]
EVERYDAY = {"depthwise_separable_cnn", "addressnet", "xception"}  # counting every network takes a minute
COUNTED = [path if path.stem in EVERYDAY else pytest.param(path, marks=pytest.mark.slow) for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_can_be_begun(path: Path):
    experiment, lab_book = load_experiment(path)
    for heading in ("Source", "Command", "Expect"):
        assert re.search(rf"^{heading} ", lab_book, re.MULTILINE), heading
    for run in experiment.runs():
        create_model(run.model, **parse_options(run.options))


@pytest.mark.parametrize("path", COUNTED, ids=lambda path: path.stem)
def test_parameters_in_a_lab_book_are_counted(path: Path):
    """Where a lab book prints parameters in full, those of every network are among them."""
    experiment, lab_book = load_experiment(path)
    counted = set()
    for run in experiment.runs():
        options = parse_options([option for option in run.options if option not in experiment.recipe.options])
        counted.add(f"{count(create_model(run.model, **options), model_info(run.model).input_shape).params:,}")
    printed = set(re.findall(r"\b\d{1,3}(?:,\d{3})+\b", lab_book.partition("\nExpect")[2]))
    assert not printed or counted <= printed
