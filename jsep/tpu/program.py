"""Cycles and HBM traffic of each layer of a compiled TPU program, read from the program's text."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# The text of a compiled program has one instruction per line: `%name = type[sizes]{layout} operation(%operands), ...`.
# An array whose layout has S(1) is in the vector memory on the chip; one without S is in HBM.
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?(%[\w.\-]+) = (.*?) ([\w\-]+)\((.*?)\)(.*)$")
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+))\[([\d,]*)\](\{[^}]*\})?")
NO_TRAFFIC = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-start", "slice-start"}
COPIES = "copies between memories"
OTHER = "no layer: input, loss, optimizer"


@dataclass(frozen=True)
class Share:
    """Cycles and HBM traffic of one layer, forward and backward.

    A fusion is attributed to the layer that the compiler names it after, though it may hold parts of other layers.

    Attributes:
        layer: path of the layer.
        cycles: cycles that the compiler estimates for its fusions.
        moved: bytes that its instructions read from HBM and write to it.
    """

    layer: str
    cycles: int
    moved: int


def shares(program: str, layers: Sequence[str]) -> tuple[Share, ...]:
    """Return the estimated cycles and HBM traffic of a compiled program by layer.

    An operand counts once for each instruction that reads it. Copies between HBM and on-chip memory, which the compiler
    adds, belong to no layer.

    Args:
        program: text of the compiled program.
        layers: paths of the network's layers.

    Returns:
        The layers that cost anything, in the order of `layers`, then the rest of the program and the copies.
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
    """Return the bytes of all arrays in a type, or only of those in HBM."""
    total = 0
    for kind, bits, sizes, layout in ARRAY.findall(types):
        if hbm and re.search(r"S\([1-9]", layout):
            continue
        total += math.prod(map(int, filter(None, sizes.split(",")))) * (1 if kind == "pred" else int(bits) // 8)
    return total


def _layer(rest: str, known: set[str]) -> str:
    """Return the longest path of a known layer that an instruction's metadata begins with."""
    name = re.search(r'op_name="[^"]*?jvp\(\w+\)\)?/([^"]*)"', rest)
    parts = name[1].split("/") if name else []
    for end in range(len(parts), 0, -1):
        if (path := "/".join(parts[:end])) in known:
            return path
    return OTHER
