"""The console of all commands, and tables that are aligned and never truncated."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

console = Console(soft_wrap=True, highlight=False)


def new_table(*words: str, numbers: Sequence[str] = (), then: Sequence[str] = ()) -> Table:
    """Return an empty table.

    Args:
        *words: headings of the first columns, which hold words.
        numbers: headings of the columns after them, which hold numbers and are aligned to the right.
        then: headings of the last columns, which hold words.
    """
    table = Table(*words, box=None, pad_edge=False)
    for heading in numbers:
        table.add_column(heading, justify="right")
    for heading in then:
        table.add_column(heading)
    return table


def print_table(table: Table) -> None:
    """Print a table; if the output is not a terminal, wide enough that no figure is cut."""
    if not console.is_terminal:
        Console(width=200, highlight=False).print(table)
    else:
        console.print(table)


def size(shape: Sequence[int]) -> str:
    """Return a shape as text, such as 32x32x3."""
    return "x".join(map(str, shape))


def percent(value: float) -> str:
    """Return a share from 0 to 1 as text, such as 48.2 %; NaN as a dash."""
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def print_next(*words: str | Path) -> None:
    """Print the command that most people type next.

    Args:
        *words: the words after jsep. Those in capitals stand for what a person fills in.
    """
    console.print(f"Next: jsep {shlex.join(map(str, words))}", markup=False)
