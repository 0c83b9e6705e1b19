"""What all commands print with: one console, and tables that are aligned and never cut."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

console = Console(soft_wrap=True, highlight=False)


def new_table(*words: str, numbers: Sequence[str] = (), then: Sequence[str] = ()) -> Table:
    """Return a table with columns of words, then columns of numbers aligned to the right, then words again."""
    table = Table(*words, box=None, pad_edge=False)
    for heading in numbers:
        table.add_column(heading, justify="right")
    for heading in then:
        table.add_column(heading)
    return table


def print_table(table: Table) -> None:
    """Print a table, at its natural width where the output is no terminal: a figure must not be cut."""
    if not console.is_terminal:
        Console(width=200, highlight=False).print(table)
    else:
        console.print(table)


def size(shape: Sequence[int]) -> str:
    """Return a shape as people write it: 32x32x3."""
    return "x".join(map(str, shape))
