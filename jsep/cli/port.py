"""`jsep port`: converts weights from PyTorch and Keras, and compares networks with those of PyTorch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jsep.cli.console import console, new_table, print_table, size
from jsep.cli.flags import parse
from jsep.errors import UserError, require, with_flags
from jsep.models import format_options, model_info

if TYPE_CHECKING:
    from jsep.port import Difference


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
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    image_size: int = 0,
    average: bool = False,
    check_images: bool = False,
    size: int | None = None,
) -> None:
    """Convert the weights of a network of PyTorch or Keras. Every array must match, or nothing is written.

    The run folder gets a checkpoint for `jsep eval`, and weights.safetensors with jsep's names.

    Args:
        model: Registered name; `jsep models` lists them.
        file: A .safetensors or .pth file with the names of pytorchcv, torchvision or timm for this network, or a
            .weights.h5, .keras or .h5 file of Keras.
        check: Instead, build the PyTorch references with random weights, and print the differences of each stage.
        options: Options of the network that the weights belong to, such as shortcut=projection.
        out: The run folder.
        data: Data set to evaluate on; that of the published network by default.
        normalize: How the network's images are normalised; as published by default.
        mean: Mean of each channel that they are normalised by, for values from 0 to 1; as published by default.
        std: Standard deviation of each channel, likewise.
        image_size: Side of the images in pixels; as published by default.
        average: Take the moving average of the weights, if the file has one.
        check_images: Run the ported network beside PyTorch's with the same weights on random images first, and print
            the differences of each stage.
        size: Height and width of the images for --check; as published by default.
    """
    if check:
        if file or options:
            raise UserError("`check` compares random weights of the known references: leave the file and `options` out")
        return _check(model, size)
    if file is None:
        raise UserError(f"jsep port {model}: give the file of its weights, or --check")
    from jsep.data import CATALOG
    from jsep.runs.adopt import adopt_file

    found = adopt_file(
        model,
        file,
        out,
        options=options,
        data=data,
        normalize=normalize,
        mean=mean,
        std=std,
        image_size=image_size,
        average=average,
        check_images=check_images,
    )
    for reference, rows in found.differences.items():
        console.print(f"{model} and {reference} with the weights of {file}, on random images, float32")
        _print_rows(rows)
    chosen = found.config.recipe.data.name
    entry = CATALOG.get(chosen)
    fits = entry is None or entry.classes == found.num_classes
    again = f"jsep eval {out} evaluates it on {chosen}" if fits else f"jsep eval {out} --data PATH evaluates it"
    console.print(
        f"{model}: {sum(array.size for array in found.arrays.values()):,} values in {len(found.arrays)} arrays, all "
        f"accounted for. {out} holds a checkpoint and weights.safetensors; {again}"
    )
    for note in found.notes:
        console.print(with_flags(note))


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
        _print_rows(rows)
        worst = max(worst, *(row.relative for row in rows))
    if not worst <= TOLERANCE:
        raise UserError(
            f"{model} is not its reference: {worst:.1e} apart, where rounding makes at most {TOLERANCE:.0e}"
        )


def _print_rows(rows: "Sequence[Difference]") -> None:
    table = new_table("stage", "output", numbers=("relative difference",))
    for row in rows:
        table.add_row(row.stage, size(row.shape), f"{row.relative:.1e}")
    print_table(table)
