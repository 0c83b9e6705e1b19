"""Machine code of a compiled TPU program: how many bundles each of its instructions executes.

libtpu writes the final code of every instruction as text, one VLIW bundle in a line. A core starts one bundle in a
cycle, so the bundles that an instruction executes are the cycles that it takes at least. The text says where loops and
branches lead, and the scalar arithmetic that decides how often: that much is evaluated here.
"""

import operator
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

DELAY = 4  # bundles after a branch that are executed whether it is taken or not
MOST_TRIPS = 100_000
MOST_STEPS = 250  # registers to evaluate for the value of one

BUNDLE = re.compile(r"^ *(?:0x)?[0-9a-f]+ +(?:[A-Z]{2} ?)*: [> ]*\{", re.MULTILINE)
REGION = re.compile(r"Start(?:/End empty)? region (\d+)")
BRANCH = re.compile(r"sbr\.rel (?:\((!?)(%\w+)\) )?target = \$region(\d+)")
PUSH = re.compile(r"\bvmatmul[\w.]*\.mxu(\d)")
# `%result = operation (predicate) a, b`, or `%result = operation (predicate, otherwise), a` for a choice
DEFINITION = re.compile(r"(%\w+) = (s\w+|p\w+)(?:\.(\w+)[\w.]*)? (?:\((!?)(%\w+)(?:, (%\w+))?\),? ?)?([^;}/]*)")
CARRIED = re.compile(r"(%\w+) = sphi (%\w+), (%\w+)")
SPILLED = re.compile(r"sst \[smem:\[(#allocation\w+_spill)\]\] (%\w+)")
COMPARISONS = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "sadd": operator.add,
    "scalar_lea": operator.add,
    "ssub": operator.sub,
    "smul": operator.mul,
    "sand": operator.and_,
    "sor": operator.or_,
    "sshll": lambda a, b: a << (b & 31),
    "sshrl": lambda a, b: a % 2**32 >> (b & 31),
    "sshra": lambda a, b: a >> (b & 31),
    "pand": operator.and_,
    "por": operator.or_,
    "pnand": lambda a, b: int(not (a and b)),
    "pnor": lambda a, b: int(not (a or b)),
}


@dataclass(frozen=True)
class Work:
    """Amount of work in the code of an instruction.

    Attributes:
        bundles: bundles, those in loops as often as the loops run.
        pushes: pushes of rows into the matrix unit that gets the most.
        open_loops: loops whose trips the text does not tell; they count once.
    """

    bundles: float
    pushes: float
    open_loops: int = 0

    def cycles(self, push: int) -> float:
        """Return the cycles that the code takes at least: one for a bundle, or what the busiest matrix unit needs.

        Args:
            push: cycles that a matrix unit needs for a push.
        """
        return max(self.bundles, push * self.pushes)


def work(text: str) -> Work:
    """Return the amount of work in the machine code of an instruction.

    Where code is skipped on some trips of a loop, as in the first and last of a pipeline, the trips that execute it
    count. Code whose condition the text does not tell counts as executed.

    Args:
        text: the code, as libtpu writes it.

    >>> work(" 0 : { %s1_s0 = smov.u32 0 }")
    Work(bundles=1.0, pushes=0, open_loops=0)
    """
    starts = [found.end() for found in BUNDLE.finditer(text)]
    bundles = [text[start:end] for start, end in pairwise([*starts, len(text)])]
    regions: dict[str, int] = {}
    for index, bundle in enumerate(bundles):
        for region in REGION.findall(bundle):
            regions.setdefault(region, index)
    scalars = _Scalars(text)
    loops, skips = [], []
    for index, bundle in enumerate(bundles):
        for negated, predicate, region in BRANCH.findall(bundle):
            if region not in regions or not predicate:
                continue
            target, holds = regions[region], partial(scalars.value, negated + predicate)
            after = min(index + 1 + DELAY, len(bundles))
            if target > index:
                skips.append((after, target, holds))
            else:
                counter = scalars.counter(predicate, bundles[target])
                loops.append(_Loop(target, after, counter, _trips(counter, partial(holds, first=True))))
    weights = [1.0] * len(bundles)
    for loop in loops:
        for index in range(loop.begin, loop.end):
            weights[index] *= loop.trips or 1
    for begin, end, holds in skips:
        share = _executed(holds, [loop for loop in loops if loop.begin <= begin < loop.end])
        for index in range(begin, end):
            weights[index] *= share
    pushes: defaultdict[str, float] = defaultdict(float)
    for weight, bundle in zip(weights, bundles, strict=True):
        for unit in PUSH.findall(bundle):
            pushes[unit] += weight
    return Work(sum(weights), max(pushes.values(), default=0), sum(loop.trips is None for loop in loops))


@dataclass(frozen=True)
class _Counter:
    """A register that a loop carries: `start` on the first trip, and `step` more on each."""

    register: str
    start: int
    step: int

    def at(self, trip: int) -> dict[str, int]:
        """Return its value on a trip, counted from 0, by its name."""
        return {self.register: self.start + trip * self.step}


@dataclass(frozen=True)
class _Loop:
    """The bundles from `begin` to before `end`, executed `trips` times; None where that cannot be told."""

    begin: int
    end: int
    counter: _Counter | None
    trips: int | None


class _Scalars:
    """The scalar arithmetic of a piece of code; each register is written once. Addresses count from their buffer's."""

    def __init__(self, text: str):
        self._definitions = {
            result: (operation, kind, negated + predicate, otherwise, [_operand(one) for one in written.split(",")])
            for result, operation, kind, negated, predicate, otherwise, written in DEFINITION.findall(text)
        }
        stores = SPILLED.findall(text)
        times = Counter(slot for slot, _ in stores)
        self._spilled = {f"[smem:[{slot}]]": register for slot, register in stores if times[slot] == 1}

    def value(self, name: str, known: Mapping[str, int], first: bool = False) -> int | None:
        """Return a register's value, or None where it cannot be told.

        Args:
            name: a register, or a predicate after "!".
            known: values of registers that loops carry.
            first: whether the other registers that loops carry have the values of the first trip.
        """
        found: dict[str, int | None] = {**known}

        def of(operand: str | int) -> int | None:
            if isinstance(operand, int):
                return operand
            if operand not in found and len(found) < MOST_STEPS:
                found[operand] = None  # what depends on itself is unknown
                found[operand] = compute(operand)
            return found.get(operand)

        def compute(register: str) -> int | None:
            if register.startswith("!"):
                opposite = of(register[1:])
                return None if opposite is None else int(not opposite)
            if register not in self._definitions:
                return None
            operation, kind, predicate, otherwise, operands = self._definitions[register]
            if otherwise:
                chosen = of(predicate)
                return None if chosen is None else of(operands[0] if chosen else otherwise)
            if operation in ("smov", "pmov") or (operation == "sphi" and first):
                return of(operands[0])
            if operation == "sld":
                return of(self._spilled.get(str(operands[0]), "?"))
            function = COMPARISONS.get(kind) if operation == "scmp" else ARITHMETIC.get(operation)
            values = [of(operand) for operand in operands]
            if function is None or len(values) != 2 or values[0] is None or values[1] is None:
                return None
            return int(function(values[0], values[1]))

        return of(name)

    def counter(self, predicate: str, header: str) -> _Counter | None:
        """Return the counter that decides when a loop ends, or None where none does.

        Args:
            predicate: of the branch back.
            header: the first bundle of the loop.
        """
        for register, start, following in CARRIED.findall(header):
            begin, step = self.value(start, {}, first=True), self.value(following, {register: 0})
            if begin is None or not step:
                continue
            if self.value(predicate, {register: begin}, first=True) is not None:
                return _Counter(register, begin, step)
        return None


def _operand(written: str) -> str | int:
    """Return a register or a place by its name, a number as the scalar unit reads it, and a buffer's address as 0."""
    word = written.split()[0] if written.split() else ""
    if re.fullmatch(r"-?\d+", word):
        return (int(word) + 2**31) % 2**32 - 2**31
    return 0 if re.fullmatch(r"\[#allocation\d+\]", word) else word


def _trips(counter: _Counter | None, again: Callable[[Mapping[str, int]], int | None]) -> int | None:
    """Return how often a loop runs, or None where it cannot be told.

    Args:
        counter: the loop's counter.
        again: whether the branch back is taken, given the value of the counter.
    """
    if counter is None:
        return 1 if again({}) == 0 else None
    for trip in range(MOST_TRIPS):
        taken = again(counter.at(trip))
        if not taken:
            return None if taken is None else trip + 1
    return None


def _executed(skipped: Callable[[Mapping[str, int]], int | None], loops: Sequence[_Loop]) -> float:
    """Return the share of trips on which code after a branch is executed.

    Args:
        skipped: whether the branch is taken, given the value of a counter.
        loops: the loops around it, the innermost first.
    """
    if skipped({}) == 1:
        return 0.0  # on every path, since no counter decides it
    for loop in loops:
        if loop.counter and loop.trips and skipped(loop.counter.at(0)) is not None:
            return sum(not skipped(loop.counter.at(trip)) for trip in range(loop.trips)) / loop.trips
    return 1.0


def read(folder: Path) -> dict[str, Work]:
    """Return the work of each instruction whose code lies in a folder, by its name in the compiled program.

    Args:
        folder: where libtpu wrote it, see `jsep.tpu.dump`.
    """
    found = {}
    for path in folder.glob("*-final_bundles.txt"):
        if named := re.fullmatch(r"\d+-(.+)-\d+-final_bundles\.txt", path.name):
            found[named[1]] = work(path.read_text(errors="replace"))
    return found
