"""`jsep show`: a network layer by layer, or the receptive fields of its stages."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import flax.linen as nn
from tyro.conf import Positional, arg

from jsep.cli.console import console, new_table, print_table, size
from jsep.cli.flags import parse
from jsep.costs import count, network_score, receptive_fields
from jsep.errors import UserError, require
from jsep.models import ModelInfo, create_model, format_options, model_info


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(show, "show", argv)


def show(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    options: Mapping[str, Any] = {},  # it is only read
    input: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    receptive: bool = False,
) -> None:
    """Print the layers of a network with their parameters, and their MACs and FLOPs per image.

    Args:
        model: Registered name; `jsep models` lists them.
        options: Options of the network, such as width=0.25.
        input: Height, width and channels of the image; the published input by default.
        num_classes: Number of classes, of a detector with the background; the published number by default.
        receptive: Print the receptive field of each stage instead of the layers (a reconstruction).
    """
    info = model_info(model)
    shape = input or info.input_shape
    if min(shape) < 1:
        raise UserError(f"`input`={size(shape)}: height, width and channels must be at least 1")
    require(num_classes is None or num_classes >= 1, "num_classes", num_classes, "at least 1")
    if receptive and info.task != "classification":
        raise UserError(f"`receptive` is for networks for classification, and {model} is for {info.task}: leave it out")
    network = create_model(model, num_classes=num_classes, **options)
    if options:  # published figures are those of the network without them
        summary = f"{info.summary} Here with {format_options(options)}."
        info = dataclasses.replace(info, summary=summary, published={})
    (_print_fields if receptive else _print_layers)(info, network, shape)


def _print_layers(info: ModelInfo, network: nn.Module, shape: tuple[int, int, int]) -> None:
    costs = count(network, shape)
    table = new_table("layer", "kind", numbers=("output", "parameters", "MACs", "FLOPs"))
    for row in costs.rows:
        work = [f"{row.cost.macs:,}", f"{row.cost.flops:,}"] if row.cost else ["not counted"] * 2
        table.add_row(row.path, row.kind, size(row.output), f"{row.params:,}", *work)
    table.add_section()
    totals = (f"{total:,}" for total in (costs.params, costs.macs, costs.flops))
    table.add_row("total", "", "", *totals, style="bold")
    console.print(f"{info.name}: {info.summary}")
    console.print(f"source     {info.paper} ({info.certainty})")
    console.print(f"task       {info.task}")
    console.print(f"input      {size(shape)}")
    console.print(f"options    {', '.join(info.options) or 'none'}")
    for name, figure in info.published.items():
        console.print(f"published  {name}: {figure}")
    console.print()
    print_table(table)
    console.print(
        "\nMACs and FLOPs are per image. FLOPs are counted as a profiler counts them: 2 per MAC, and the elements of "
        "biases, pooling and batch norms."
    )


def _print_fields(info: ModelInfo, network: nn.Module, shape: tuple[int, int, int]) -> None:
    stages, whole = receptive_fields(network, shape)
    table = new_table("stage", numbers=("enters", "field", "reach", "volume", "score"))
    for stage in stages:
        entry = size((stage.side, stage.side, stage.channels))
        seen = (f"{stage.field}", f"{stage.reach:.3f}", f"{stage.volume:,.0f}", f"{stage.score:.4f}")
        table.add_row(stage.name, entry, *seen)
    console.print(f"{info.name}: {info.summary}\n")
    print_table(table)
    console.print(
        f"\nThe last units see {whole} of {shape[0]} pixels along the image's side; score {network_score(stages):.4f}."
        "\n3D receptive field after arXiv 2009.05236: a reconstruction, since its formula could not be read.\n"
        "field: side of the window, in pixels of the map that enters the stage. reach: mean share of that map's "
        "channels that is seen.\nvolume: field x field x channels seen. score: reach times the squared share of the "
        "side that is seen. The first stage begins at the image."
    )
