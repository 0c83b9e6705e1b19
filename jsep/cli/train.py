"""`jsep train`: trains a network into a run folder."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from jsep.cli.console import console, new_table, print_next, print_table
from jsep.cli.flags import parse
from jsep.models import list_models, model_info
from jsep.results import FIGURES, Result, mean_std, told
from jsep.runs.config import replace_fields
from jsep.runs.folder import RunFolder
from jsep.runs.several import check_seeds, seed_folder, train_seeds
from jsep.runs.trained import trained_config
from jsep.runs.training import train
from jsep.train import Recipe, RunConfig
from jsep.train.hosts import CHILD, Hosts, is_first, supervise
from jsep.train.setup import task_of


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a network into a run folder.

    The folder holds config.json, metrics.jsonl, results.csv, checkpoints/ and TensorBoard events. Ctrl-C saves a
    checkpoint, and --resume continues from it.
    """

    model: Annotated[Positional[str], arg(metavar="[MODEL]")] = "separable_cnn"
    """Registered name; `jsep models` lists them."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the network, such as width=0.25; `jsep show MODEL` lists them."""
    init: Path | None = None
    """Run folder, published weights such as timm/resnet50.a1_in1k, or file of weights to begin with.
    The settings of that run become the defaults of all flags, and its mean and deviation are kept.
    Of other weights, these are the network, its options, and how images are prepared for it.
    If its number of classes differs, the classifier starts from fresh weights.
    A classifier gives its weights, mean and deviation to the backbone of a detector or segmenter."""
    out: Path = Path("runs/run")
    """Run folder."""
    resume: bool = False
    """Continue the run in --out, whose settings become the defaults of all flags."""
    seeds: tuple[int, ...] = ()
    """Train once with each of these seeds instead of --seed, in the folders seed0, seed1, ... of --out.
    The mean and the standard deviation of their accuracies, AP or mIoU are printed."""
    recipe: OmitArgPrefixes[Recipe] = dataclasses.field(default_factory=Recipe)
    hosts: OmitArgPrefixes[Hosts] = dataclasses.field(default_factory=Hosts)


@dataclasses.dataclass(frozen=True)
class Earlier:
    """The flags that name an earlier run, whose settings are the defaults of the others, and those that undo some."""

    out: Path = Train.out
    resume: bool = Train.resume
    seeds: tuple[int, ...] = Train.seeds
    init: Path | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: str | None = None
    image_size: int | None = None
    normalize: str | None = None


def run(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    base = RunConfig()
    if not {"-h", "--help"} & set(argv):
        base = _base(argv)
    typed = parse(Train, "train", argv, default=Train(base.model, {}, base.init, recipe=base.recipe))
    options = {**(base.options if typed.model == base.model else {}), **typed.options}
    if typed.hosts.several:
        if CHILD not in os.environ:
            return supervise(["train", *argv], typed.out)
        typed.hosts.join()
        console.quiet = not is_first()
    config = dataclasses.replace(base, model=typed.model, options=options, recipe=typed.recipe, init=typed.init)
    if typed.seeds:
        results = train_seeds(config, typed.seeds, typed.out, resume=typed.resume, console=console)
        _print_seeds(results, task_of(config).main, typed.out)
        print_next("eval", seed_folder(typed.out, typed.seeds[0]))
        return 0
    result = train(config, typed.out, resume=typed.resume, console=console)
    main = task_of(config).main
    console.print(
        f"{result.model}: {told(main, getattr(result, main))} "
        f"(best {getattr(result, f'best_{main}'):.2%}, epoch {result.best_epoch}), "
        f"{result.train_seconds:.1f} s of training. The run is in {typed.out}"
    )
    print_next("eval", typed.out)
    return 0


def _print_seeds(results: Sequence[Result], main: str, out: Path) -> None:
    """Print the main figure of several seeds as a table, with its mean and standard deviation."""
    name, figures = FIGURES[main], (main, f"best_{main}")
    table = new_table(numbers=("seed", name, f"best {name}", "best epoch"))
    for result in results:
        own = (f"{getattr(result, figure):.2%}" for figure in figures)
        table.add_row(str(result.seed), *own, str(result.best_epoch))
    print_table(table)
    last, best = (mean_std([getattr(result, figure) for result in results]) for figure in figures)
    console.print(
        f"{results[0].model}: {name} {last[0]:.2%} ± {last[1]:.2%} (best {best[0]:.2%} ± {best[1]:.2%}), "
        f"mean and standard deviation of {len(results)} seeds. The runs are in {out}"
    )


def _base(argv: Sequence[str]) -> RunConfig:
    """Return the configuration that gives the defaults of the flags."""
    known: Any = parse(Earlier, "train", argv, return_unknown_args=True, add_help=False)
    earlier, _ = known
    if earlier.seeds or "--seeds" in argv:
        check_seeds(earlier.seeds)
    if earlier.resume:
        first = seed_folder(earlier.out, earlier.seeds[0]) if earlier.seeds else earlier.out
        return RunFolder.open(first).config()
    if not earlier.init:
        return RunConfig()
    undone = {"train_split": "", "eval_split": ""} if earlier.data else {}
    undone |= {"eval_size": 0} if earlier.image_size is not None else {}
    undone |= {"mean": (), "std": ()} if earlier.normalize else {}
    named = next((word for word in argv if word in list_models()), "")
    theirs = trained_config(earlier.init, named, earlier.options)
    if named and model_info(named).task != model_info(theirs.model).task:  # of a classifier, for a backbone
        data = theirs.recipe.data
        return replace_fields(RunConfig(named), {"mean": data.mean, "std": data.std, **undone})
    return replace_fields(theirs, undone)
