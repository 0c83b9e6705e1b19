"""Several networks trained under one recipe, each with several seeds, and a report about them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jsep.data import Dataset
from jsep.errors import UserError, require, require_types, typed
from jsep.files import local_path, make_folder
from jsep.models import model_info, parse_options
from jsep.report import write_report
from jsep.report.figures import Picture
from jsep.report.sheet import COLUMNS
from jsep.results import CURVES_CSV, RESULTS_CSV, CurvePoint, Result, write_rows
from jsep.runs.by_class import evaluate_by_class
from jsep.runs.folder import RunFolder
from jsep.runs.rows import curve_of
from jsep.runs.several import check_folders, train_once
from jsep.runs.strips import annotated_strip, predicted_strip
from jsep.runs.trained import load_variables
from jsep.train import Recipe, RunConfig
from jsep.train.classify import CLASSIFICATION
from jsep.train.setup import check_training, dataset_of, prepare, task_of

MOST_CLASSES = 100  # of which the report shows confusion matrices


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several networks under one recipe: the value that a file in experiments/ defines.

    >>> experiment = Comparison("Attention", ("resnet20", "resnet20 attention=se"), Recipe(), seeds=2)
    >>> [config.recipe.seed for config in experiment.runs()["resnet20 attention=se"]]
    [0, 1]

    Attributes:
        title: heading of the report.
        models: registered names, each optionally with its own options: "densenet100_k12_bc attention=se".
        recipe: the data and the training, the same for all networks.
        options: options of all networks.
        seeds: runs of each network, with the seeds `recipe.seed`, `recipe.seed` + 1, ...
        against: the network that each is told against on the page of results, as both are in `models`; the others are
            told against the first of all.
    """

    title: str
    models: tuple[str, ...]
    recipe: Recipe
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int = 1
    against: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_types(self)
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        if not self.models or not all(map(str.strip, self.models)):
            raise UserError("`models`: name at least one network")
        if len(set(self.models)) < len(self.models):
            raise UserError(f"`models`={' '.join(self.models)}: name each network once")

    def runs(self) -> dict[str, list[RunConfig]]:
        """Return the configurations of each network, one per seed, by its entry in `models`."""
        seeds = [self.recipe.seed + i for i in range(self.seeds)]
        recipes = [dataclasses.replace(self.recipe, seed=seed) for seed in seeds]
        found = {}
        for text in self.models:
            model, *own = text.split()
            options = {**self.options, **parse_options(own)}
            found[text] = [RunConfig(model, options, recipe) for recipe in recipes]
        return found


@typed
def compare_networks(experiment: Comparison, out: Path, *, resume: bool, console: Console) -> Path:
    """Train every network with every seed, and write a report.

    results.csv, curves.csv, the figures and report.html are written again after each run.

    Args:
        experiment: the networks and the recipe.
        out: the folder of the runs and the report.
        resume: keep finished runs with the same configuration, and resume unfinished ones.
        console: for the progress.

    Returns:
        The path of report.html.

    Raises:
        UserError: a network does not fit the data, or `out` holds other runs.
    """
    out = local_path(out)
    runs = [(text, config) for text, configs in experiment.runs().items() for config in configs]
    folders = [out / f"{'-'.join(text.split())}-seed{config.recipe.seed}" for text, config in runs]
    check_folders(out, folders, resume)
    dataset = _checked_data(experiment)
    published = [{"model": text, **figures} for text in experiment.models if (figures := _published(text))]
    results: list[Result] = []
    curves: list[CurvePoint] = []
    mistakes: list[Picture] = []
    strips: dict[str, list[Picture]] = {}
    page = out / "report.html"
    for number, ((text, config), folder) in enumerate(zip(runs, folders, strict=True), start=1):
        console.print(f"[bold]{text}[/], seed {config.recipe.seed} (run {number} of {len(runs)})")
        result = train_once(config, folder, dataset, resume=resume, console=console)
        results.append(dataclasses.replace(result, model=text))
        points = curve_of(config, RunFolder.open(folder).metrics())
        curves.extend(dataclasses.replace(point, model=text) for point in points)
        if config.recipe.seed == experiment.recipe.seed:
            if task_of(config) is not CLASSIFICATION:
                place = out / "figures"
                strips = strips or {"Annotation": annotated_strip(dataset, place / "annotation")}
                strips[text] = predicted_strip(text, folder, dataset, place / folder.name)
            elif len(dataset.class_names) <= MOST_CLASSES:
                mistakes.extend(_mistakes(text, folder, dataset, out / "figures"))
        write_rows(out / RESULTS_CSV, results)
        write_rows(out / CURVES_CSV, curves)
        notes: Sequence[str] = [dataset.note] if dataset.note else []
        more: dict[str, Any] = {"notes": notes, "published": published, "mistakes": mistakes, "strips": strips}
        page = write_report(out, title=experiment.title, **more)
    return page


def _checked_data(experiment: Comparison) -> Dataset:
    """Load the data set, and check before any training that every network fits it."""
    configs = [config for config, *_ in experiment.runs().values()]
    tasks = {task_of(config).name for config in configs}
    if len(tasks) > 1:
        named = " ".join(experiment.models)
        raise UserError(f"`models`={named}: compare networks for {' or '.join(sorted(tasks))}, not for both")
    dataset = dataset_of(configs[0])
    for config in configs:
        check_training(prepare(config, dataset))
    return dataset


def _mistakes(text: str, folder: Path, dataset: Dataset, figures: Path) -> list[Picture]:
    """Draw what the best checkpoint of a finished run confuses, unless that was done since it was trained.

    Args:
        text: what the report calls the network.
        folder: the run folder.
        dataset: its data set.
        figures: the folder of the report's figures, in which the files get a folder of their own.
    """
    place = figures / folder.name
    done, trained = place / "per_class.csv", RunFolder.open(folder).results_path
    if not done.exists() or done.stat().st_mtime_ns < trained.stat().st_mtime_ns:
        setup = prepare(RunFolder.open(folder).config(), dataset)
        make_folder(place)
        evaluate_by_class(setup, setup.devices.replicate(load_variables(folder)[1]), place, shown=COLUMNS)
    told = f"{text}, best checkpoint of {folder.name}"
    matrix = f"{told}: the number of images of each class (row) that were taken for each class (column)."
    found = [Picture(f"The confusion matrix of {text}", matrix, place / "confusion.png")]
    if (place / "mistakes.png").exists():
        worst = f"{told}: the mistakes with the most probable wrong class."
        found.append(Picture(f"The worst mistakes of {text}", worst, place / "mistakes.png"))
    return found


def _published(text: str) -> Mapping[str, str]:
    """Return the published figures of a network; they do not hold for a network with options."""
    return {} if " " in text else model_info(text).published
