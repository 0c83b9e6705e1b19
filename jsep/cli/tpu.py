"""`jsep tpu`: compiles training steps for a TPU that need not be present."""

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


@dataclasses.dataclass(frozen=True)
class Tpu:
    """Compile a network's training step for a TPU that need not be present.

    Prints the memory that the step needs, what it computes and moves, the bound of its time, and the costliest layers.
    The compiler is libtpu (on Linux, `pip install 'jsep[tpu-compiler]'`). It takes minutes per network.
    """

    model: Annotated[Positional[str], arg(metavar="[MODEL]")] = "mobilenet_v1"
    """Registered name; `jsep models` lists them."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the network, such as width=0.25."""
    target: OmitArgPrefixes[Target] = dataclasses.field(default_factory=Target)
    compare: tuple[str, str] | None = None
    """Two networks to show side by side, each optionally with its own options: 'mobilenet_v1 width=0.5'."""
    layers: int = 12
    """Number of the costliest layers to print; 0 for none."""

    def __post_init__(self) -> None:
        require(self.layers >= 0, "layers", self.layers, "at least 0")


ROWS = {
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
    "FLOPs per byte": lambda e: f"{e.intensity:,.1f}",
    "bound by": lambda e: e.binds,
    "  FLOPs, ms": lambda e: f"{e.compute_seconds * 1e3:.2f}",
    "  bytes, ms": lambda e: f"{e.memory_seconds * 1e3:.2f}",
    "images/s at most, all devices": lambda e: f"{e.images_per_second:,.0f}",
    "compiler: GB accessed": lambda e: f"{e.accessed / 1e9:,.2f}",
    "compiler: million cycles": lambda e: f"{e.cycles / 1e6:,.1f}",
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
    console.print(
        f"The training step compiles for TPU {target.chip} {target.topology}, {first.devices} device"
        f"{'s' * (first.devices > 1)}: batch {target.batch}, {target.dtype}, {target.optimizer}\n"
    )
    print_table(table)
    if len(found) == 1 and layers:
        console.print()
        _print_layers(first, layers)
    console.print(
        "\nNothing was run. The bound follows from the chip's published figures and the bytes that go to and from HBM; "
        "the compiler's bytes include on-chip memory. Its cycles are summed over fusions and include no waiting. Its "
        "optimal time is an estimate, not a measurement; it is none if the compiler has none for an operation."
    )


def _print_layers(found: Estimate, number: int) -> None:
    table = new_table("layer, forward and backward", numbers=("million cycles", "share", "HBM, MB", "share"))
    costly = sorted(found.shares, key=lambda share: (share.cycles, share.moved), reverse=True)
    rest = costly[number:]
    rows = [(share.layer, share.cycles, share.moved) for share in costly[:number]]
    if rest:
        rows.append((f"{len(rest)} more", sum(s.cycles for s in rest), sum(s.moved for s in rest)))
    for layer, cycles, moved in rows:
        shares = (cycles / max(found.cycles, 1), moved / max(found.moved, 1))
        table.add_row(layer, f"{cycles / 1e6:.2f}", f"{shares[0]:.1%}", f"{moved / 1e6:,.1f}", f"{shares[1]:.1%}")
    print_table(table)
