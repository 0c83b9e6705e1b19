"""The share of each layer in a compiled TPU program, read from the program's text."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# The text of a compiled program: one instruction a line, `%name = type[sizes]{layout} operation(%operands), ...`.
# A layout with S(1) lies in the vector memory on the chip; one without S lies in HBM.
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?(%[\w.\-]+) = (.*?) ([\w\-]+)\((.*?)\)(.*)$")
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+))\[([\d,]*)\](\{[^}]*\})?")
NO_TRAFFIC = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-start", "slice-start"}
COPIES = "copies between memories"
OTHER = "no layer: input, loss, optimizer"


@dataclass(frozen=True)
class Share:
    """What a compiled program spends on one layer, forward and backward.

    A fusion belongs to the layer that the compiler names it after, though it may hold parts of its neighbours.

    Attributes:
        layer: path of the layer.
        cycles: the compiler's estimates for its fusions, summed.
        moved: bytes that its instructions read from HBM and write to it.
    """

    layer: str
    cycles: int
    moved: int


def shares(program: str, layers: Sequence[str]) -> tuple[Share, ...]:
    """Return the estimated cycles and HBM traffic of a compiled program by layer, in the order of `layers`.

    An operand counts once for each instruction that reads it. Copies that the compiler adds, between HBM and the memory
    on the chip, belong to no layer.

    Args:
        program: text of the compiled program.
        layers: paths of the network's layers.
    """
    entry = program[program.index("\nENTRY ") :]
    in_hbm: dict[str, int] = {}
    started: dict[str, bool] = {}
    cycles: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    known = set(layers)
    for line in entry.splitlines():
        found = INSTRUCTION.match(line)
        if not found:
            continue
        name, result, operation, operands, rest = found.groups()
        in_hbm[name] = _bytes(result, hbm=True)
        sources = re.findall(r"%[\w.\-]+", operands)
        if operation in ("copy-start", "slice-start"):
            started[name] = in_hbm.get(sources[0], 0) > 0
        if operation in NO_TRAFFIC:
            continue
        if operation in ("copy-done", "slice-done"):
            moved[COPIES] += in_hbm[name] + _bytes(result, hbm=False) * started.get(sources[0], False)
            continue
        layer = _layer(rest, known)
        moved[layer] += in_hbm[name] + sum(in_hbm.get(source, 0) for source in sources)
        if estimated := re.search(r'"estimated_cycles":"(\d+)"', rest):
            cycles[layer] += int(estimated[1])
    ordered = [layer for layer in (*dict.fromkeys(layers), OTHER, COPIES) if cycles[layer] or moved[layer]]
    return tuple(Share(layer, cycles[layer], moved[layer]) for layer in ordered)


def _bytes(types: str, hbm: bool) -> int:
    """The bytes of all arrays in a type, or of those that lie in HBM."""
    total = 0
    for kind, bits, sizes, layout in ARRAY.findall(types):
        if hbm and re.search(r"S\([1-9]", layout):
            continue
        total += math.prod(map(int, filter(None, sizes.split(",")))) * (1 if kind == "pred" else int(bits) // 8)
    return total


def _layer(rest: str, known: set[str]) -> str:
    """The longest path of a known layer at the beginning of an instruction's metadata."""
    name = re.search(r'op_name="[^"]*?jvp\(\w+\)\)?/([^"]*)"', rest)
    parts = name[1].split("/") if name else []
    for end in range(len(parts), 0, -1):
        if (path := "/".join(parts[:end])) in known:
            return path
    return OTHER
