"""`jsep port`: converts weights from PyTorch, and compares both networks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jsep.cli.console import console, new_table, print_table, size
from jsep.cli.flags import parse
from jsep.errors import UserError, require
from jsep.models import format_options, model_info


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(port, "port", argv)


def port(
    model: Annotated[Positional[str], arg(metavar="MODEL")],
    file: Annotated[Positional[Path | None], arg(metavar="[FILE]")] = None,
    check: bool = False,
    options: Mapping[str, Any] = {},  # it is only read
    out: Path = Path("runs/port"),
    data: str | None = None,
    normalize: Literal["dataset", "unit", "imagenet"] | None = None,
    size: int | None = None,
) -> None:
    """Convert the weights of a PyTorch network. Every array must match, or nothing is written.

    The run folder gets a checkpoint for `jsep eval`, and weights.safetensors with jsep's names.

    Args:
        model: Registered name; `jsep models` lists them.
        file: A .safetensors or .pth file with the names of pytorchcv, torchvision or timm for this network.
        check: Instead, build the PyTorch references with random weights, and print the differences of each stage.
        options: Options of the network that the weights belong to, such as shortcut=projection.
        out: The run folder.
        data: Data set to evaluate on; that of the published network by default.
        normalize: How the network's images are normalised; as published by default.
        size: Height and width of the images for --check; as published by default.
    """
    if check:
        if file or options:
            raise UserError("`check` compares random weights of the known references: leave the file and `options` out")
        return _check(model, size)
    if file is None:
        raise UserError(f"jsep port {model}: give the file of its weights, or --check")
    from jsep.runs.adopt import adopt_file

    config, arrays = adopt_file(model, file, out, options=options, data=data, normalize=normalize)
    console.print(
        f"{model}: {sum(array.size for array in arrays.values()):,} values in {len(arrays)} arrays, all accounted for. "
        f"{out} holds a checkpoint and weights.safetensors; jsep eval {out} evaluates it on {config.recipe.data.name}"
    )


def _check(model: str, side: int | None) -> None:
    from jsep.port import TOLERANCE, compare_with_torch

    references = model_info(model).references
    if not references:
        raise UserError(f"{model} has no public PyTorch reference to be checked against")
    require(side is None or side >= 1, "size", side, "at least 1")
    worst = 0.0
    for reference, options in references.items():
        with console.status(f"Building {reference} and {model}"):
            rows = compare_with_torch(model, reference, size=side)
        given = f" ({format_options(options)})" if options else ""
        console.print(f"{model} and {reference}{given}, random weights and statistics, float32")
        table = new_table("stage", "output", numbers=("relative difference",))
        for row in rows:
            table.add_row(row.stage, size(row.shape), f"{row.relative:.1e}")
        print_table(table)
        worst = max(worst, *(row.relative for row in rows))
    if not worst <= TOLERANCE:
        raise UserError(
            f"{model} is not its reference: {worst:.1e} apart, where rounding makes at most {TOLERANCE:.0e}"
        )
