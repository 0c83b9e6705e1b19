"""`jsep bench`: a network, or single convolutions, timed against plain Flax and PyTorch."""

from collections.abc import Sequence

from jsep.bench import BenchConfig, bench
from jsep.cli.console import console
from jsep.cli.flags import parse


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    config = parse(BenchConfig, "bench", argv)
    bench(config, console)
    console.print(f"The figures: {config.out / 'bench.csv'}, {config.out / 'bench.png'}")
