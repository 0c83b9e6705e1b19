"""Means, Pareto fronts and sentences from the rows of one protocol, for the tables and pictures of a page."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jsep.results import FIGURES, Result, main_figure, mean_std

COSTS = {"params": "parameters", "macs": "MACs", "train_seconds": "training time"}
AXES = {"params": "parameters", "macs": "MACs an image", "train_seconds": "training time, s"}


class Conditions(NamedTuple):
    """The conditions that rows must share to be compared.

    Attributes:
        dataset: name of the data set.
        epochs: passes over the training images.
        batch_size: images per step.
        recipe: the flags of the rest of the recipe; empty in rows of earlier versions.
        device: kind of device.
        devices: number of devices.
        jax: version of JAX.
    """

    dataset: str
    epochs: int
    batch_size: int
    recipe: str
    device: str
    devices: int
    jax: str


@dataclass(frozen=True)
class Entry:
    """A network under some conditions.

    Attributes:
        name: the network with all its options.
        runs: its rows, at least one.
        figure: the main figure of its task, one of `jsep.results.FIGURES`.
    """

    name: str
    runs: tuple[Result, ...]
    figure: str

    @property
    def values(self) -> list[float]:
        """The main figure of each run after the last epoch, in %."""
        return [100 * getattr(run, self.figure) for run in self.runs]

    @property
    def value(self) -> float:
        """The mean of `values`; NaN if a run diverged."""
        return mean_std(self.values)[0]

    @property
    def error(self) -> float:
        """The standard error of `value`; NaN for a single run."""
        return mean_std(self.values)[1] / math.sqrt(len(self.runs))

    def cost(self, name: str) -> float:
        """Return the mean of a column over the runs, one of `COSTS`."""
        return mean_std([getattr(run, name) for run in self.runs])[0]


def by_conditions(rows: Iterable[Result]) -> dict[Conditions, list[Entry]]:
    """Collect the rows that may be compared, and among them the runs of each network, in order of first appearance."""
    found: dict[Conditions, dict[str, list[Result]]] = {}
    for row in rows:
        conditions = Conditions(*(getattr(row, name) for name in Conditions._fields))
        found.setdefault(conditions, {}).setdefault(network_name(row.model, row.options), []).append(row)
    entries = {}
    for conditions, networks in found.items():
        figure = main_figure(run for runs in networks.values() for run in runs)
        entries[conditions] = [Entry(name, tuple(runs), figure) for name, runs in networks.items()]
    return entries


def network_name(model: str, options: str) -> str:
    """Return the name of a network with all its options.

    >>> network_name("vgg16_bn width=0.25", "input=cifar width=0.25")
    'vgg16_bn input=cifar width=0.25'

    Args:
        model: a registered name; words after it are options that `options` holds, too.
        options: all its options in text form.
    """
    return " ".join([model.split()[0], *options.split()])


def pareto(entries: Iterable[Entry], cost: str) -> list[Entry]:
    """Return the networks that no other one beats: none that costs as little is as good.

    Args:
        entries: networks under the same conditions; those that diverged are left out.
        cost: one of `COSTS`.

    Returns:
        The front from the lowest cost to the highest. Of equals, the first one is on it.
    """
    front: list[Entry] = []
    measured = [entry for entry in entries if math.isfinite(entry.value) and math.isfinite(entry.cost(cost))]
    for entry in sorted(measured, key=lambda entry: (entry.cost(cost), -entry.value)):
        if not front or entry.value > front[-1].value:
            front.append(entry)
    return front


def sentence(entry: Entry, base: Entry) -> str:
    """Return in words what a network keeps of another one's accuracy (or AP, or mIoU), and at what costs.

    After the sign ± comes one standard error of the share, which follows from the spreads of both networks' runs.
    They are told apart if their means differ by more than two standard errors of the difference.

    Args:
        entry: the network.
        base: the network that it is told against, of the same conditions.
    """
    what = FIGURES[entry.figure]
    if lost := [f"`{one.name}`" for one in (entry, base) if not one.value > 0]:
        return (
            f"`{entry.name}` cannot be told against `{base.name}`: of {listed(lost)} a run diverged or learned nothing."
        )
    share = entry.value / base.value
    shares = [f"{_percent(entry.cost(cost) / base.cost(cost))} of the {label}" for cost, label in COSTS.items()]
    error = math.hypot(entry.error, share * base.error) / base.value
    spread = "" if math.isnan(error) else f" ± {100 * error:.1f}"
    verb = "keeps" if share <= 1 else "reaches"
    said = f"`{entry.name}` {verb} {100 * share:.1f}{spread} % of the {what} of `{base.name}`, with {listed(shares)}."
    if math.isnan(error):
        return f"{said} A single run has no spread."
    twice = 2 * math.hypot(entry.error, base.error)
    if abs(entry.value - base.value) <= twice:
        return f"{said} These runs do not tell the two apart: two standard errors are {twice:.1f} points."
    return said


def listed(words: Sequence[str]) -> str:
    """Return words as a list in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 else 1}f} %"
