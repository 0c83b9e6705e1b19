"""What the commands print: aligned, with units, whole where the output is no terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(soft_wrap=True, highlight=False)


def networks(names: Sequence[str]) -> None:
    """A line each."""
    from jsep.models import model_info

    listing = _table("model", "input", numbers=("parameters", "MACs"))
    for heading in ("facts", "what it is"):
        listing.add_column(heading)
    for name in names:
        info = model_info(name)
        listing.add_row(name, *_counted(info), info.certainty, info.summary)
    _print_table(listing)


def zoo(names: Sequence[str]) -> None:
    """The README's table."""
    from jsep.models import model_info

    headings = ("network", "input", "parameters", "MACs", "facts", "source", "published", "outputs equal")
    print(f"| {' | '.join(headings)} |\n|---|---|--:|--:|---|---|---|---|")
    for name in names:
        info = model_info(name)
        published = "; ".join(f"{what}: {figure}" for what, figure in info.published.items())
        equal = ", ".join(f"{torch}{_given(options)}" for torch, options in info.references.items())
        cells = [f"`{name}`", *_counted(info), info.certainty, info.paper, published or "-", equal or "-"]
        print(f"| {' | '.join(cells)} |")


def _counted(info: Any) -> list[str]:
    """Input, parameters and MACs of a registered network."""
    params, macs = info.params, info.macs
    if params is None or macs is None:
        from jsep.costs import count
        from jsep.models import create_model

        costs = count(create_model(info.name), info.input_shape)
        params, macs = costs.params, costs.macs
    return [size(info.input_shape), f"{params:,}", f"{macs:,}"]


def layers(info: Any, network: Any, shape: tuple[int, int, int]) -> None:
    """Layer by layer, with what is known of the network."""
    from jsep.costs import count

    costs = count(network, shape)
    table = _table("layer", "kind", numbers=("output", "parameters", "MACs", "FLOPs"))
    for row in costs.rows:
        work = [f"{row.cost.macs:,}", f"{row.cost.flops:,}"] if row.cost else ["not counted"] * 2
        table.add_row(row.path, row.kind, size(row.output), f"{row.params:,}", *work)
    table.add_section()
    totals = (f"{total:,}" for total in (costs.params, costs.macs, costs.flops))
    table.add_row("total", "", "", *totals, style="bold")
    console.print(f"{info.name}: {info.summary}")
    console.print(f"source     {info.paper} ({info.certainty})")
    console.print(f"input      {size(shape)}")
    console.print(f"options    {', '.join(info.options) or 'none'}")
    for what, figure in info.published.items():
        console.print(f"published  {what}: {figure}")
    console.print()
    _print_table(table)
    console.print("\nOne image. FLOPs as a profiler counts them: 2 a MAC, and bias, pooling and batch-norm elements.")


def receptive_fields(info: Any, network: Any, shape: tuple[int, int, int]) -> None:
    """How far the units at the end of each stage see."""
    from jsep import costs

    stages, whole = costs.receptive_fields(network, shape)
    table = _table("stage", numbers=("enters", "field", "reach", "volume", "score"))
    for stage in stages:
        entry = size((stage.side, stage.side, stage.channels))
        seen = (f"{stage.field}", f"{stage.reach:.3f}", f"{stage.volume:,.0f}", f"{stage.score:.4f}")
        table.add_row(stage.name, entry, *seen)
    console.print(f"{info.name}: {info.summary}\n")
    _print_table(table)
    console.print(
        f"\nThe last units see {whole} pixels of the image's {shape[0]}; score {costs.network_score(stages):.4f}.\n"
        "3D receptive field, after arXiv 2009.05236: a reconstruction, its formula could not be read. field: side of "
        "the window, in pixels of the map that enters; reach: mean share of its channels that is seen; volume: field x "
        "field x channels seen; score: reach times the squared share of the side. The first stage begins at the image."
    )


def decomposition(rows: Sequence[Any], out: Path) -> None:
    """What became of each layer."""
    table = _table("layer", "becomes", numbers=("error", "inherited", "parameters", "after", "MACs", "after", ""))
    for row in rows:
        sizes = (row.params_before, row.params_after, row.macs_before, row.macs_after)
        rank = f" {row.rank}" if row.rank else ""
        errors = (f"{row.error:.1%}", f"{row.error_inherited:.1%}")
        table.add_row(row.path, f"{row.kind}{rank}", *errors, *(f"{number:,}" for number in sizes), row.note)
    _print_table(table)
    before, after = (sum(getattr(row, name) for row in rows) for name in ("macs_before", "macs_after"))
    console.print(
        "error: of the linear response, of its root mean square about the mean, on the images of the fit. "
        "inherited: that of the untouched layer behind the decomposed ones.\n"
        f"MACs of these layers {before:,} to {after:,}. The run is in {out}; jsep eval {out} evaluates it"
    )


def tpu(found: Sequence[Any], layers: int) -> None:
    """Training steps compiled for a TPU, a column each; of one alone also the layers that cost most."""
    target, first = found[0].target, found[0]
    table = _table("of one device", numbers=[estimate.name for estimate in found])
    for what, value in {
        "input": lambda e: size(e.input),
        "compiled in, s": lambda e: f"{e.compile_seconds:.0f}",
        "HBM, GB": lambda e: f"{e.hbm / 1e9:.3f}",
        "  of the chip's": lambda e: f"{e.hbm / e.capacity:.1%}",
        "  arguments, MB": lambda e: f"{e.arguments / 1e6:,.1f}",
        "  outputs, MB": lambda e: f"{e.outputs / 1e6:,.1f}",
        "  temporaries, MB": lambda e: f"{e.temporaries / 1e6:,.1f}",
        "  code, MB": lambda e: f"{e.code / 1e6:,.1f}",
        "GFLOPs": lambda e: f"{e.flops / 1e9:,.1f}",
        "GB to and from HBM": lambda e: f"{e.moved / 1e9:,.2f}",
        "FLOPs a byte": lambda e: f"{e.intensity:,.1f}",
        "bound by": lambda e: e.binds,
        "  FLOPs alone, ms": lambda e: f"{e.compute_seconds * 1e3:.2f}",
        "  bytes alone, ms": lambda e: f"{e.memory_seconds * 1e3:.2f}",
        "images/s at most, all devices": lambda e: f"{e.images_per_second:,.0f}",
        "compiler: GB accessed": lambda e: f"{e.accessed / 1e9:,.2f}",
        "compiler: million cycles": lambda e: f"{e.cycles / 1e6:,.1f}",
        "compiler: optimal ms": lambda e: f"{e.optimal_seconds * 1e3:,.2f}" if e.optimal_seconds > 0 else "none",
    }.items():
        table.add_row(what, *map(value, found))
    console.print(
        f"The training step compiles for TPU {target.chip} {target.topology}, {first.devices} device"
        f"{'s' * (first.devices > 1)}: batch {target.batch}, {target.dtype}, {target.optimizer}\n"
    )
    _print_table(table)
    if len(found) == 1 and layers:
        console.print()
        _tpu_layers(first, layers)
    console.print(
        "\nNothing was run. The bound is from published figures of the chip and the bytes that go to and from HBM; the "
        "compiler's bytes count on-chip memory too. Its cycles are a sum over fusions that knows no waiting; its "
        "optimal time is left out where an operation has no estimate (it is negative then), and is no measure."
    )


def _tpu_layers(found: Any, number: int) -> None:
    table = _table("layer, forward and backward", numbers=("million cycles", "share", "HBM, MB", "share"))
    costly = sorted(found.shares, key=lambda share: (share.cycles, share.moved), reverse=True)
    rest = costly[number:]
    rows = [(share.layer, share.cycles, share.moved) for share in costly[:number]]
    if rest:
        rows.append((f"{len(rest)} more", sum(s.cycles for s in rest), sum(s.moved for s in rest)))
    for layer, cycles, moved in rows:
        shares = (cycles / max(found.cycles, 1), moved / max(found.moved, 1))
        table.add_row(layer, f"{cycles / 1e6:.2f}", f"{shares[0]:.1%}", f"{moved / 1e6:,.1f}", f"{shares[1]:.1%}")
    _print_table(table)


def differences(networks: str, options: Mapping[str, Any], rows: Sequence[Any]) -> None:
    """Of two networks, stage by stage."""
    table = _table("stage", "output", numbers=("relative difference",))
    for row in rows:
        table.add_row(row.stage, size(row.shape), f"{row.relative:.1e}")
    console.print(f"{networks}{_given(options)}, random weights and statistics, float32")
    _print_table(table)


def data_sets(data_dir: Path | None) -> None:
    """A line each, with the folder of what is prepared."""
    from jsep.data import CATALOG, load
    from jsep.data.catalog import is_streamed
    from jsep.data.sources import data_folder, newest_version

    table = Table("data set", box=None, pad_edge=False)
    for heading in ("classes", "images", "size"):
        table.add_column(heading, justify="right")
    table.add_column("during training")
    table.add_column("prepared")
    folder = data_folder(data_dir)
    for name, source in CATALOG.items():
        if source is None:
            embedded = load(name)
            classes, images = len(embedded.class_names), len(embedded.train) + len(embedded.test)
            shape, there = embedded.image_shape, "in the package"
        else:
            classes, images, shape = source.classes, source.images, source.shape
            there = str(newest_version(folder / source.tfds_name) or "no")
        lies = "streamed" if is_streamed(images, shape) else "in memory"
        table.add_row(name, f"{classes:,}", f"{images:,}", size(shape), lies, there)
    _print_table(table)
    console.print(
        f"\nPrepared sets are looked for in {folder}; jsep data prepare NAME says what one needs and makes it."
    )


def exported(report: Any, to: str) -> None:
    """What became of a run, and how far it is from the live network."""
    images = report.test_images + report.random_images
    console.print(f"{report.path}: {report.model} at step {report.step}, {report.path.stat().st_size:,} bytes")
    if to != "safetensors":
        console.print(f"{report.folded} of {report.norms} batch norms went into the convolutions before them")
    console.print(
        f"Run again on {report.test_images} test and {report.random_images} random images: logits within "
        f"{report.difference:.1e} of the largest from the live network's, the same class on {report.same} of {images}"
    )


def _table(*words: str, numbers: Sequence[str]) -> Table:
    """Columns of words, then columns of numbers, set to the right."""
    table = Table(*words, box=None, pad_edge=False)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _print_table(table: Table) -> None:
    """At its natural width where the output is no terminal: a cut figure is no figure."""
    if not console.is_terminal:
        Console(width=200, highlight=False).print(table)
    else:
        console.print(table)


def _given(options: Mapping[str, Any]) -> str:
    from jsep.models import format_options

    return f" ({format_options(options)})" if options else ""


def size(shape: Sequence[int]) -> str:
    """A shape as people write it: 32x32x3."""
    return "x".join(map(str, shape))
