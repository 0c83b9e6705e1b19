"""`jsep decompose`: a trained run's dense convolutions turned into cheaper ones."""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from jsep.cli.console import console, new_table, print_table
from jsep.cli.flags import given, parse
from jsep.compress import LayerResult, Method, Options, save_plan
from jsep.errors import require
from jsep.runs.decomposition import TrainedRun, decompose_run


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(decompose, "decompose", argv)


def decompose(
    run: Positional[Path],
    method: Method = "comp",
    sweeps: int = 3,
    symmetric: bool = False,
    relu: bool = False,
    images: int = 1000,
    points: int = 10,
    layers: tuple[str, ...] = ("*",),
    plan: Path | None = None,
    write_plan: Path | None = None,
    recalibrate: int = 20,
    checkpoint: str = "best",
    data: str | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    out: Path = Path("runs/decomposed"),
) -> None:
    """Turn the dense convolutions of a trained run into cheaper ones, layer by layer, all at equal MACs.

    The new run folder is one that `jsep eval` takes and `jsep train --init` tunes further. In it, layers.csv and
    layers.png show what became of each layer.

    Args:
        run: The run folder of the trained network.
        method: Depthwise separable by the weights only (svd), by each channel's data (data), with compensation
            between channels (comp), or by alternating least squares (als). Rivals at the same MACs: few channels by
            the weights (channel_svd) or by data (channel), a column and a row (spatial).
        sweeps: Times that comp goes through all channels.
        symmetric: Fit each layer to the untouched network, not to what the decomposed layers before it deliver.
        relu: Refit the pointwise part to the response behind a ReLU, for layers that have one behind them.
        images: Training images to fit to.
        points: Windows taken from each image for each layer.
        layers: Wildcards of the convolutions to replace, such as 'stage[345]_*'.
        plan: A plan as --write-plan makes it, edited or not, instead of --layers.
        write_plan: Write the plan to this file and stop.
        recalibrate: Batches of training images that renew the statistics of all batch norms; 0 for none.
        checkpoint: best, last, or a step.
        data: Another data set to fit to; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
        seed: Seed of the choice of images and windows.
        out: The new run folder.
    """
    require(sweeps >= 1, "sweeps", sweeps, "at least 1")
    require(points >= 1, "points", points, "at least 1")
    require(recalibrate >= 0, "recalibrate", recalibrate, "at least 0")
    require(seed >= 0, "seed", seed, "at least 0")
    source = TrainedRun.open(run, checkpoint, **given(data=data, data_dir=data_dir))
    options = Options(method, sweeps, symmetric, relu, points, seed)
    chosen = source.plan(options, layers, plan)
    if write_plan:
        save_plan(chosen, write_plan)
        console.print(f"{len(chosen)} convolutions: the plan is in {write_plan}; --plan {write_plan} carries it out")
        return
    rows = decompose_run(source, chosen, options, out, images=images, recalibrate=recalibrate, console=console)
    _print_layers(rows, out)


def _print_layers(rows: Sequence[LayerResult], out: Path) -> None:
    numbers = ("error", "inherited", "parameters", "after", "MACs", "after")
    table = new_table("layer", "becomes", numbers=numbers, then=("",))
    for row in rows:
        sizes = (row.params_before, row.params_after, row.macs_before, row.macs_after)
        rank = f" {row.rank}" if row.rank else ""
        errors = (f"{row.error:.1%}", f"{row.error_inherited:.1%}")
        table.add_row(row.path, f"{row.kind}{rank}", *errors, *(f"{number:,}" for number in sizes), row.note)
    print_table(table)
    before, after = (sum(getattr(row, name) for row in rows) for name in ("macs_before", "macs_after"))
    console.print(
        "error: root mean square of the error in the linear response, over that of the response about its mean, on the "
        "images of the fit.\ninherited: the same for the untouched layer behind the decomposed ones.\n"
        f"MACs of these layers: {before:,} before, {after:,} after. The run is in {out}; jsep eval {out} evaluates it"
    )
