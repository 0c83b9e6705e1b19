"""All methods that decompose a trained network, at equal multiply-accumulates: accuracy before, after, and tuned.

Source     Depth-wise decomposition, arXiv 1910.09455, of which we could read the abstract but no table. All figures are
           ours.
Method     Each method is fitted to the same training images. The statistics of all batch norms are renewed. Then the
           network is trained further with a small learning rate.
Command    jsep train vgg16_bn --options width=0.25 --data PATH/cifar10_jpeg/1.0.0 --crop 4 --flip --optimizer sgd
               --lr 0.05 --weight-decay 5e-4 --schedule cosine --batch-size 64 --epochs 12 --out runs/vgg
           python studies/decomposition.py runs/vgg --out runs/vgg-decomposed
           The same on fashion_mnist (6 epochs, --crop 2); ResNet-20 from `jsep port`; ShuffleNet V2:
           jsep train shufflenet_v2_x0_5_expanded --options input=cifar ... --epochs 4 --out runs/expanded
           python studies/decomposition.py runs/expanded --methods comp --lr 0.01 --out runs/expanded-decomposed
           compared with shufflenet_v2_x0_5 trained for 4 epochs.
Result     studies/results/decomposition.csv: VGG-16 on cifar10_jpeg and fashion_mnist and the ported ResNet-20 on
           cifar10_lossless5k, all methods; ShuffleNet V2 with 3 + 1 epochs and with 4, two seeds.
           With --lr 0.0005 tuning raised `channel` on cifar10_jpeg from 40.9 to 46.8 % (fitted with a ridge of 1e-8
           instead of 1e-5); with 0.005 it lowers it. Bottlenecks of 2 to 5 channels without a batch norm in between do
           not tolerate the larger rate.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Annotated

import matplotlib.style
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from rich.console import Console
from rich.table import Table

from jsep.compress import Method, Options, make_plan
from jsep.costs import count
from jsep.models import format_options
from jsep.models.factored import factored
from jsep.report.figures import INK, RC, STYLES
from jsep.runs.config import replace_fields
from jsep.runs.decomposition import TrainedRun, decompose_run
from jsep.runs.evaluate import evaluate_run
from jsep.runs.folder import RunFolder
from jsep.runs.training import train

METHODS: tuple[Method, ...] = ("svd", "data", "comp", "als", "channel_svd", "channel", "spatial")


@dataclasses.dataclass(frozen=True)
class Row:
    """Accuracy on all test images: as decomposed with statistics renewed, and after tuning."""

    network: str
    dataset: str
    seed: int
    method: str
    images: int
    params: int
    macs: int
    accuracy: float
    tuned_epochs: int
    tuned_accuracy: float | None


def main(
    run: Annotated[Path, tyro.conf.Positional],
    out: Path,
    methods: tuple[Method, ...] = METHODS,
    images: int = 1000,
    epochs: int = 1,
    lr: float = 0.005,
) -> None:
    """Decompose a run by every method.

    Args:
        run: A trained run.
        out: Folder of the new runs, decomposition.csv and its figure.
        methods: See `jsep decompose --help`.
        images: Training images to fit to.
        epochs: Epochs of tuning; 0 for none.
        lr: Peak learning rate of tuning.
    """
    console = Console(width=110, highlight=False)
    source, config = TrainedRun.open(run), RunFolder.open(run).config()
    shape, name = source.setup.dataset.image_shape, f"{config.model} {format_options(config.options)}".strip()
    before, trained = count(source.model, shape), evaluate_run(run).figures["accuracy"]
    fixed = {"network": name, "dataset": source.setup.dataset.name, "seed": config.recipe.seed}
    made = {"params": before.params, "macs": before.macs, "accuracy": trained}
    rows = [Row(**fixed, method="none", images=0, **made, tuned_epochs=0, tuned_accuracy=None)]
    for method in methods:
        folder, options = out / method, Options(method)
        plan = make_plan(source.sites, method)
        decompose_run(source, plan, options, folder, images=images, recalibrate=20, console=console)
        costs = count(factored(source.model, list(map(str, plan))), shape)
        accuracy, tuned = evaluate_run(folder).figures["accuracy"], None
        if epochs:
            kept = RunFolder.open(folder).config()
            changes = {"init": folder, "epochs": epochs, "lr": lr, "schedule": "cosine", "warmup_epochs": 0.0}
            tuned = train(replace_fields(kept, changes), out / f"{method}-tuned", console=console).accuracy
        made = {"params": costs.params, "macs": costs.macs, "accuracy": accuracy}
        rows.append(Row(**fixed, method=method, images=images, **made, tuned_epochs=epochs, tuned_accuracy=tuned))
        write(out, rows, console)


def write(out: Path, rows: list[Row], console: Console) -> None:
    """Print the table, write it as csv, and draw the figure."""
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for heading in ("parameters", "MACs", "accuracy", "tuned"):
        table.add_column(heading, justify="right")
    for row in rows:
        tuned = "-" if row.tuned_accuracy is None else f"{row.tuned_accuracy:.2%}"
        table.add_row(row.method, f"{row.params:,}", f"{row.macs:,}", f"{row.accuracy:.2%}", tuned)
    console.print(table)
    with (out / "decomposition.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
    with matplotlib.style.context(["default", RC]):
        figure = Figure(figsize=(6.4, 4.2))
        axes = figure.add_axes((0.11, 0.13, 0.62, 0.8))
        for i, ((colour, _, marker), row) in enumerate(zip(STYLES, rows, strict=False)):
            label = "as trained" if row.method == "none" else row.method
            at = rows[1].macs * 1.09 ** (i - 1) if i else row.macs  # beside each other: the MACs are nearly the same
            style = {"color": colour, "marker": marker, "markersize": 7, "markeredgecolor": INK, "linestyle": "none"}
            axes.plot(at, 100 * row.accuracy, label=label, **style)
            if row.tuned_accuracy is not None:
                ends = [100 * row.accuracy, 100 * row.tuned_accuracy]
                axes.annotate("", (at, ends[1]), (at, ends[0]), arrowprops={"arrowstyle": "->"})
        axes.set(xlabel="multiply-accumulates of one image", ylabel="test accuracy (%)")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        axes.set_title("Arrows: the effect of tuning. Equal MACs are drawn side by side.", fontsize=9, loc="left")
        figure.savefig(out / "decomposition.png", dpi=150)


if __name__ == "__main__":
    tyro.cli(main)
