"""`jsep data`: lists and prepares the data sets that jsep knows by name."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tyro.conf import Positional, arg

from jsep.cli.console import console, new_table, print_table, size
from jsep.cli.flags import parse
from jsep.errors import UserError


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse({"list": list_sets, "prepare": prepare_set}, "data", argv)


def list_sets(data_dir: Path | None = None) -> None:
    """List the data sets that jsep knows by name, and where they are prepared.

    Args:
        data_dir: Where TFDS keeps its data sets; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.
    """
    from jsep.data import CATALOG, load
    from jsep.data.catalog import is_streamed
    from jsep.data.sources import data_folder, newest_version

    then = ("during training", "prepared")
    table = new_table("data set", numbers=("classes", "images", "size"), then=then)
    folder = data_folder(data_dir)
    for name, entry in CATALOG.items():
        if entry is None:
            embedded = load(name)
            classes, images = len(embedded.class_names), len(embedded.train) + len(embedded.test)
            shape, place = embedded.image_shape, "in the package"
        else:
            classes, images, shape = entry.classes, entry.images, entry.shape
            place = str(newest_version(folder / entry.tfds_name) or "no")
        lies = "streamed" if is_streamed(images, shape) else "in memory"
        table.add_row(name, f"{classes:,}", f"{images:,}", size(shape), lies, place)
    print_table(table)
    console.print(
        f"\nPrepared sets are looked up in {folder}; jsep data prepare NAME says what one needs, and prepares it."
    )


def prepare_set(
    name: Annotated[Positional[str], arg(metavar="NAME")],
    data_dir: Path | None = None,
    short_side: int | None = None,
    quality: int = 90,
    skip_unreadable: bool = False,
) -> None:
    """Say what a data set needs, then download and prepare it; with --short-side, also write a resized copy.

    Args:
        name: A name that `jsep data list` prints; for a resized copy also a path that --data takes.
        data_dir: Where TFDS keeps its data sets; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.
        short_side: Shorter side in pixels of the pictures of a copy, such as 320. Smaller ones keep their size.
        quality: Quality of the JPEGs of the copy, from 1 to 100.
        skip_unreadable: Leave pictures that cannot be decoded out of the copy.
    """
    if short_side is not None:
        return _shrink(name, short_side, quality, data_dir, skip_unreadable)
    from jsep.data.prepare import needs, prepare
    from jsep.data.sources import CATALOG, EMBEDDED, data_folder, find_entry, newest_version

    if name == EMBEDDED:
        console.print(f"{EMBEDDED} comes with jsep: there is nothing to prepare")
        return
    if name not in CATALOG and os.path.exists(name):
        raise UserError(
            f"{name} is on this machine and needs no preparation: give --data {name} to jsep train, or `short_side` "
            "here for a resized copy"
        )
    entry, folder = find_entry(name), data_folder(data_dir)
    place = newest_version(folder / entry.tfds_name)
    if place is None:
        console.print(f"Preparing {name} needs:")
        for need in needs(entry, folder):
            console.print(f"  {need}")
        prepare(entry, folder)
        place = newest_version(folder / entry.tfds_name)
    console.print(f"{name} is prepared: {place}")


def _shrink(name: str, short_side: int, quality: int, data_dir: Path | None, skip_unreadable: bool) -> None:
    """Write a resized copy of a data set, with a progress bar."""
    from jsep.data.shrink import shrink

    columns = TextColumn("copying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", visible=False)

        def report(done: int, images: int) -> None:
            if not done:
                console.print(f"Copying {name}: shorter side {short_side} pixels, JPEG of quality {quality}")
            progress.update(bar, completed=done, total=images, visible=True)

        copy = shrink(name, short_side, quality, data_dir, skip_unreadable=skip_unreadable, report=report)
    size = f"{copy.before / 1e6:,.1f} MB before and {copy.after / 1e6:,.1f} MB now"
    console.print(
        f"{copy.images:,} pictures, {size if copy.before else 'copied before'}: give --data {copy.folder}", markup=False
    )
