"""Instructions of a compiled TPU program, and what they cost by layer and by kind, read from the program's text."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from jsep.tpu.bundles import Work
from jsep.tpu.chips import Chip

# The text of a compiled program has one instruction per line: `%name = type[sizes]{layout} operation(%operands), ...`.
# An array whose layout has S(1) is in the vector memory on the chip; one without S is in HBM.
NAME = r"%[\w.\-]+"
INSTRUCTION = re.compile(rf"^\s+(?:ROOT )?({NAME}) = (.*?) ([\w\-]+)\((.*?)\)(.*)$")
COMPUTATION = re.compile(rf"^(?:ENTRY )?({NAME}) \(.*\{{$")
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+))\[([\d,]*)\](\{[^}]*\})?")
NO_TRAFFIC = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-start", "slice-start"}
NOT_WORK = re.compile(r", (?:metadata|backend_config|sharding|frontend_attributes)=.*")
COPIES = "copies between memories"
OTHER = "no layer: input, loss, optimizer"

PRODUCTS = "convolutions, products"
GROUPED = "grouped, depthwise convolutions"
WINDOWS = "pooling windows"
GATHERS = "gathers, scatters"
DEVICES = "between devices"
ELEMENTS = "element by element, sums"
RELAYOUT = "copies, reshapes, slices, pads"
CALLS = "scalars, calls"
# operations that tell the kind of an instruction, or of the fusion that holds one; the first that is found
KINDS = {
    PRODUCTS: {"convolution", "dot"},
    WINDOWS: {"reduce-window", "select-and-scatter"},
    GATHERS: {"gather", "scatter", "sort", "dynamic-slice"},
    DEVICES: {
        "all-reduce",
        "all-reduce-start",
        "all-reduce-done",
        "all-gather",
        "reduce-scatter",
        "collective-permute",
    },
}
TAKES = {"gather", "dynamic-slice"}
MOVES = {"copy", "reshape", "transpose", "slice", "pad", "concatenate", "broadcast", "reverse", "dynamic-update-slice"}
MOVES |= {"bitcast", "bitcast-convert", "parameter", "constant", "tuple", "get-tuple-element", "fusion"}
Computations = dict[str, list[re.Match[str]]]  # instructions by the name of their computation
PROGRAM = "TLP"  # libtpu's name of the code that calls the rest


@dataclass(frozen=True)
class Instruction:
    """An instruction of a compiled program.

    Attributes:
        name: its name.
        kind: what it does, such as `PRODUCTS`.
        layer: path of the layer that the compiler names it after, or `OTHER` or `COPIES`.
        moved: bytes that it reads from HBM and writes to it, each time.
        estimated: cycles that the compiler estimates, each time; 0 where it has no estimate.
        runs: how often it runs, in a loop of the program.
        signature: what it computes on which types; instructions of one signature share their code.
        waits: whether it only waits for a copy that goes on beside others.
    """

    name: str
    kind: str
    layer: str
    moved: int
    estimated: int
    runs: int
    signature: tuple[str, ...]
    waits: bool


@dataclass(frozen=True)
class Share:
    """Cost of one layer or of one kind of instruction, forward and backward.

    A fusion is attributed to the layer that the compiler names it after, though it may hold parts of other layers.

    Attributes:
        name: path of the layer, or the kind.
        code: cycles of its code, see `shares`.
        estimated: cycles that the compiler estimates.
        moved: bytes that its instructions read from HBM and write to it.
    """

    name: str
    code: int
    estimated: int
    moved: int


def instructions(program: str, layers: Iterable[str]) -> list[Instruction]:
    """Return the instructions of a compiled program that do anything, those of its loops included.

    An operand counts once for each instruction that reads it; one that rows are taken from counts with those rows.

    Args:
        program: text of the compiled program.
        layers: paths of the network's layers.
    """
    computations: Computations = {}
    entry = name = ""
    for line in program.splitlines():
        if found := COMPUTATION.match(line):
            name = found[1]
            computations[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif found := INSTRUCTION.match(line):
            computations[name].append(found)
    return list(_of(entry, computations, set(layers), 1))


def _of(computation: str, computations: Computations, layers: set[str], runs: int) -> Iterator[Instruction]:
    """Generate the instructions of one computation, and of those that it calls."""
    types: dict[str, str] = {}
    started: dict[str, bool] = {}
    for found in computations[computation]:
        name, result, operation, operands, rest = found.groups()
        types[name] = result
        sources = re.findall(NAME, operands)
        if operation in ("copy-start", "slice-start"):
            started[name] = _bytes(types.get(sources[0], ""), hbm=True) > 0
        if operation in ("while", "call"):
            called = re.search(rf"(?:body|to_apply)=({NAME})", rest)
            if called:
                yield from _of(called[1], computations, layers, runs * _trips(rest, computations))
            continue
        if operation in NO_TRAFFIC or '"ConcatBitcast"' in rest:
            continue
        waits = operation in ("copy-done", "slice-done")
        inside = _inside(found, computations)
        moved = _bytes(result, hbm=True)
        if waits:
            moved += _bytes(result, hbm=False) * started.get(sources[0], False)
        else:
            for source in sources:
                whole = _bytes(types.get(source, ""), hbm=True)
                moved += min(whole, _taken(source, [found], computations)) if whole else 0
        estimated = re.search(r'"estimated_cycles":"(\d+)"', rest)
        yield Instruction(
            name=name[1:],
            kind=COPIES if waits else _kind(found, inside),
            layer=COPIES if waits else _layer(rest, layers),
            moved=int(moved),
            estimated=int(estimated[1]) if estimated else 0,
            runs=runs,
            signature=(
                _nameless(operation + rest),
                result,
                *(types.get(source, "") for source in sources),
                *(_nameless(one[0]) for one in inside),
            ),
            waits=waits,
        )


def _inside(instruction: re.Match[str], computations: Computations) -> list[re.Match[str]]:
    """Return the instructions that a fusion holds; none for another instruction."""
    called = re.search(rf"calls=({NAME})", instruction[5])
    return computations.get(called[1], []) if called else []


def _trips(rest: str, computations: Computations) -> int:
    """Return how often a loop of the program runs: until its counter, which begins at 0, reaches a constant."""
    condition = re.search(rf"condition=({NAME})", rest)
    body = computations.get(condition[1], []) if condition else []
    limits = [int(one[4]) for one in body if one[3] == "constant" and one[4].isdecimal()]
    counts = any("direction=LT" in one[5] for one in body)
    return limits[0] if counts and len(limits) == 1 else 1


def _taken(name: str, parts: Sequence[re.Match[str]], computations: Computations) -> float:
    """Return the bytes that instructions take of an operand if they only take rows of it; infinity if they read it all.

    Args:
        name: the operand.
        parts: the instructions.
        computations: what fusions hold.
    """
    taken = 0.0
    for part in parts:
        for index, operand in enumerate(re.findall(NAME, part[4])):
            if operand != name:
                continue
            inside = _inside(part, computations)
            if inside:
                parameters = {one[4]: one[1] for one in inside if one[3] == "parameter"}
                taken += _taken(parameters.get(str(index), ""), inside, computations)
            elif part[3] in TAKES:
                taken += _bytes(part[2], hbm=False) if index == 0 else math.inf
            else:
                taken += _taken(part[1], parts, computations) if part[3] == "bitcast" else math.inf
    return taken


def shares(
    found: Sequence[Instruction],
    works: Mapping[str, Work],
    chip: Chip,
    cores: float,
    group: Callable[[Instruction], str],
) -> tuple[Share, ...]:
    """Return what the instructions of a compiled program cost, in groups.

    The code of an instruction takes the largest of its bundles, the rows that it pushes into a matrix unit and, where
    the chip's clock is known, its bytes to and from HBM. Copies that the compiler adds go on beside other instructions,
    and take bytes but no cycles.

    Args:
        found: the instructions.
        works: what the code of instructions executes, by name. Those that share the code of another have no own entry.
        chip: the chip that they were compiled for.
        cores: devices of a chip, which share its HBM.
        group: returns the group of an instruction, such as its layer.

    Returns:
        The groups, in the order of their first instructions. The code that calls all others belongs to the layer
        `OTHER` and to the kind `CALLS`.
    """
    per_cycle = chip.bandwidth / cores / chip.clock if chip.clock else math.inf
    same = {one.signature: works[one.name] for one in found if one.name in works}
    totals: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0, 0])
    calls = Instruction(PROGRAM, CALLS, OTHER, 0, 0, 1, (), waits=False)
    for one in (*found, calls):
        work = works.get(one.name) or same.get(one.signature)
        code = 0 if one.waits else max(work.cycles(chip.push) if work else 0, one.moved / per_cycle)
        for index, value in enumerate((code, one.estimated, one.moved)):
            totals[group(one)][index] += one.runs * value
    return tuple(
        Share(name, round(code), int(estimated), int(moved))
        for name, (code, estimated, moved) in totals.items()
        if code or estimated or moved
    )


def _bytes(types: str, hbm: bool) -> int:
    """Return the bytes of all arrays in a type, or only of those in HBM."""
    total = 0
    for kind, bits, sizes, layout in ARRAY.findall(types):
        if hbm and re.search(r"S\([1-9]", layout):
            continue
        total += math.prod(map(int, filter(None, sizes.split(",")))) * (1 if kind == "pred" else int(bits) // 8)
    return total


def _kind(instruction: re.Match[str], inside: Sequence[re.Match[str]]) -> str:
    """Return the kind of an instruction, which is that of what it holds if it is a fusion."""
    parts = inside or [instruction]
    operations = {part[3] for part in parts}
    for kind, signs in KINDS.items():
        if operations & signs:
            grouped = kind == PRODUCTS and any(re.search(r"_group_count=(?!1\b)\d", part[5]) for part in parts)
            return GROUPED if grouped else kind
    if operations <= MOVES:
        return RELAYOUT
    scalar = not inside and "[]" in instruction[2]
    return CALLS if scalar else ELEMENTS


def _layer(rest: str, known: set[str]) -> str:
    """Return the longest path of a known layer that an instruction's metadata begins with."""
    name = re.search(r'op_name="(?:[^"]*?jvp\(\w+\)\)?|jit\(\w+\)/(?:shard_map/)?\w+)/([^"]*)"', rest)
    parts = name[1].split("/") if name else []
    for end in range(len(parts), 0, -1):
        if (path := "/".join(parts[:end])) in known:
            return path
    return OTHER


def _nameless(written: str) -> str:
    """Return an instruction without names and without what its code does not depend on."""
    return re.sub(r"%[\w.\-]+", "%", NOT_WORK.sub("", written))
