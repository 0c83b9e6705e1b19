"""`jsep tpu`: compiles steps of training and evaluation for a TPU that need not be present."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
from tyro.conf import OmitArgPrefixes, Positional, arg

from jsep.cli.console import console, new_table, print_table, size
from jsep.cli.flags import parse
from jsep.errors import require
from jsep.tpu.chips import Target
from jsep.tpu.estimate import Estimate, estimate_all
from jsep.tpu.program import Share


@dataclasses.dataclass(frozen=True)
class Tpu:
    """Compile a network's step of training or evaluation for a TPU that need not be present.

    Prints the memory that the step needs, what it computes and moves, the bound of its time, the cycles of its machine
    code, and the costliest layers and kinds of instructions. The compiler is libtpu (on Linux, `pip install
    'jsep[tpu-compiler]'`). It takes minutes per network.
    """

    model: Annotated[Positional[str], arg(metavar="[MODEL]")] = "mobilenet_v1"
    """Registered name; `jsep models` lists them."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the network, such as width=0.25."""
    target: OmitArgPrefixes[Target] = dataclasses.field(default_factory=Target)
    compare: tuple[str, str] | None = None
    """Two networks to show side by side, each optionally with its own options: 'mobilenet_v1 width=0.5'."""
    layers: int = 12
    """Number of the costliest layers and kinds of instructions to print; 0 for none."""

    def __post_init__(self) -> None:
        require(self.layers >= 0, "layers", self.layers, "at least 0")


ROWS = {
    "input": lambda e: size(e.input),
    "compiled in, s": lambda e: f"{e.compile_seconds:.0f}",
    "HBM, GB": lambda e: f"{e.hbm / 1e9:.3f}",
    "  of the chip's": lambda e: f"{e.hbm / e.capacity:.1%}",
    "  arguments, MB": lambda e: f"{e.arguments / 1e6:,.1f}",
    "    data set of them, MB": lambda e: f"{e.dataset / 1e6:,.1f}" if e.resident else "streamed",
    "  outputs, MB": lambda e: f"{e.outputs / 1e6:,.1f}",
    "  temporaries, MB": lambda e: f"{e.temporaries / 1e6:,.1f}",
    "  code, MB": lambda e: f"{e.code / 1e6:,.1f}",
    "GFLOPs": lambda e: f"{e.flops / 1e9:,.1f}",
    "GB to and from HBM": lambda e: f"{e.moved / 1e9:,.2f}",
    "FLOPs per byte": lambda e: f"{e.intensity:,.1f}",
    "bound by": lambda e: e.binds,
    "  FLOPs, ms": lambda e: f"{e.compute_seconds * 1e3:.2f}",
    "  bytes, ms": lambda e: f"{e.memory_seconds * 1e3:.2f}",
    "images/s at most, all devices": lambda e: f"{e.images_per_second:,.0f}",
    "code: million cycles": lambda e: f"{e.code_cycles / 1e6:,.2f}",
    "  ms": lambda e: f"{e.code_seconds * 1e3:.2f}" if e.code_seconds else "no clock known",
    "compiler: million cycles": lambda e: f"{e.estimated_cycles / 1e6:,.2f}",
    "compiler: GB accessed": lambda e: f"{e.accessed / 1e9:,.2f}",
    "compiler: optimal ms": lambda e: f"{e.optimal_seconds * 1e3:,.2f}" if e.optimal_seconds > 0 else "none",
}


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    typed = parse(Tpu, "tpu", argv)
    jax.config.update("jax_platforms", "cpu")  # a TPU that is present must not be occupied
    with console.status("Compiling"):
        found = estimate_all(typed.compare or [typed.model], typed.options, typed.target)
    _print_estimates(found, typed.layers)


def _print_estimates(found: Sequence[Estimate], layers: int) -> None:
    """Print a column for each network and, if there is only one, its costliest layers."""
    target, first = found[0].target, found[0]
    table = new_table("for one device", numbers=[estimate.name for estimate in found])
    for heading, value in ROWS.items():
        table.add_row(heading, *map(value, found))
    step = {"train": "training", "evaluate": "evaluation"}[target.step]
    console.print(
        f"The {step} step compiles for TPU {target.chip} {target.topology}, {first.devices} device"
        f"{'s' * (first.devices > 1)}: batch {target.batch}, {target.dtype}"
        f"{f', {target.optimizer}' * (target.step == 'train')}\n"
    )
    print_table(table)
    if len(found) == 1 and layers:
        console.print()
        _print_shares("layer" + ", forward and backward" * (target.step == "train"), first.layers, layers)
        console.print()
        _print_shares("kind of instruction", first.kinds, layers)
    console.print(
        "\nNothing was run. The bound follows from the chip's published figures and the bytes that go to and from HBM. "
        "Cycles of the code are those that each instruction takes at least: its bundles, its pushes into a matrix unit "
        "or its bytes to and from HBM, whichever are more. Lines of the compiler are its own estimates; its cycles "
        "charge elements, not bytes, and leave out reshapes, pooling windows and gathers."
    )
    if loops := sum(estimate.open_loops for estimate in found):
        console.print(f"{loops} loops of the code do not tell how often they run, and count once.")


def _print_shares(heading: str, shares: Sequence[Share], number: int) -> None:
    """Print the costliest shares, and the sum of the others."""
    table = new_table(heading, numbers=("million cycles", "share", "compiler's", "share", "HBM, MB", "share"))
    costly = sorted(shares, key=_figures, reverse=True)
    totals = [max(sum(column), 1) for column in zip(*map(_figures, costly), strict=True)]
    rows = [(share.name, _figures(share)) for share in costly[:number]]
    if rest := costly[number:]:
        rows.append((f"{len(rest)} more", tuple(map(sum, zip(*map(_figures, rest), strict=True)))))
    for name, figures in rows:
        code, estimated, moved = (f"{figure / 1e6:,.2f}" for figure in figures)
        parts = [f"{figure / total:.1%}" for figure, total in zip(figures, totals, strict=True)]
        table.add_row(name, code, parts[0], estimated, parts[1], moved, parts[2])
    print_table(table)


def _figures(share: Share) -> tuple[int, ...]:
    return share.code, share.estimated, share.moved
