"""`jsep decompose`: replaces the dense convolutions of a trained run by cheaper ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from jsep.cli.console import console, new_table, print_table
from jsep.cli.flags import given, parse
from jsep.compress import LayerResult, Method, Options, save_plan
from jsep.errors import require
from jsep.runs.decomposition import TrainedRun, decompose_run


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(decompose, "decompose", argv)


def decompose(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
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
    """Replace the dense convolutions of a trained run by cheaper ones, layer by layer.

    All methods give the same MACs. `jsep eval` evaluates the new run folder, and `jsep train --init` fine-tunes it. Its
    layers.csv and layers.png show the error and cost of each layer.

    Args:
        run: Run folder of the trained network, published weights such as timm/resnet50.a1_in1k, or file of weights.
        method: svd, data, comp and als give depthwise separable convolutions.
            svd fits them to the weights only, and data to the responses of each channel.
            comp adds compensation between channels, and als is alternating least squares.
            channel_svd and channel keep fewer channels, chosen by the weights or by data.
            spatial gives a column followed by a row.
        sweeps: Passes of comp over all channels.
        symmetric: Fit each layer on its inputs in the original network, not on those from decomposed layers.
        relu: Refit the pointwise part to the response after the ReLU, for layers that have one after them.
        images: Number of training images to fit to; all where there are fewer.
        points: Windows taken from each image for each layer.
        layers: Wildcards of the convolutions to replace, such as 'stage[345]_*'.
        plan: Plan file to use instead of --layers, as --write-plan writes it; it may be edited.
        write_plan: Write the plan to this file and stop.
        recalibrate: Batches of training images from which batch norms take new statistics; 0 keeps the old ones.
        checkpoint: Checkpoint to decompose: best, last, or a step.
        data: Data set to fit to; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
        seed: Seed of the choice of images and windows.
        out: The new run folder.
    """
    require(recalibrate >= 0, "recalibrate", recalibrate, "at least 0")
    options = Options(method, sweeps, symmetric, relu, points, seed)
    source = TrainedRun.open(run, checkpoint, **given(data=data, data_dir=data_dir))
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
        "error: root mean square error of the linear response, relative to the response's standard deviation, on the "
        "images of the fit.\ninherited: the same for the original layer after the decomposed ones before it.\n"
        f"MACs of these layers: {before:,} before, {after:,} after. The run is in {out}; jsep eval {out} evaluates it"
    )
