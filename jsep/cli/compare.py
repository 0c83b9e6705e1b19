"""`jsep compare`: the networks of an experiment, trained and shown side by side."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tyro.conf import OmitArgPrefixes

from jsep.cli.console import console
from jsep.cli.flags import parse
from jsep.runs.comparison import compare_networks
from jsep.runs.experiments import find_experiment, load_experiment
from jsep.train import Recipe


@dataclasses.dataclass(frozen=True)
class Compare:
    """The flags. Their defaults are the values of the experiment file."""

    models: tuple[str, ...]
    """Networks to train, in the order of the report."""
    options: Mapping[str, Any]
    """Options of all networks, such as width=0.25."""
    seeds: int
    """Runs of each network, with the seeds --seed, --seed + 1, ..."""
    out: Path
    """Folder of the runs, results.csv, the figures and report.html."""
    recipe: OmitArgPrefixes[Recipe]
    resume: bool = False
    """Keep the finished runs in --out, and continue with the rest."""


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    named = bool(argv) and not argv[0].startswith("-")
    path = find_experiment(argv[0] if named else "depthwise_separable_cnn")
    experiment, lab_book = load_experiment(path)
    default = Compare(
        experiment.models, experiment.options, experiment.seeds, Path("runs") / path.stem, experiment.recipe
    )
    lines = textwrap.indent(lab_book, "  ")  # text that is not indented would be joined to paragraphs
    description = f"Train the networks of an experiment and show them side by side.\n\n{path.name}:\n{lines}"
    typed = parse(Compare, "compare [EXPERIMENT.py]", argv[named:], default=default, description=description)
    chosen = dataclasses.replace(
        experiment, recipe=typed.recipe, models=typed.models, options=typed.options, seeds=typed.seeds
    )
    page = compare_networks(chosen, typed.out, resume=typed.resume, console=console)
    console.print(f"The report: {page}")
