"""The training step of every registered network, compiled for TPUs by libtpu without running anything.

Question   Does every network compile for a TPU, how much memory does it need there, and what bounds its speed?
Method     `jsep.tpu.estimate`: the step of `jsep train`, mapped with pmap, Adam, bfloat16, uint8 images. Three tables:
           zoo (one v5e chip, batch 32, the smallest input that the network takes: CIFAR's, or 64 and up), paper (one
           v5e chip, batch 128, the published input), topologies (MobileNet V1 at 224, 128 images a device). Networks of
           CIFAR's input take their images from a data set of 50,000 in HBM, the others from a stream.
Command    pip install '.[tpu-compiler]' && python studies/tpu_zoo.py [NETWORK ...]
           Rows that the csv file already holds with cycles of the machine code are not compiled again, so a run that
           was ended goes on. One network of each family comes first.
Hardware   Any; up to four processes at once. A network takes half a minute to two minutes of a CPU core, at the
           published input up to five, DenseNets and PyramidNets six to thirty (libtpu 0.0.52, jax 0.10.2).
Result     studies/results/tpu_zoo.csv: all 90 networks, all twelve of the paper table and all 14 topologies compile.
"""

import csv
import dataclasses
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_type_hints

from rich.console import Console
from without_tpu import leave_accelerators_alone, run

from jsep.costs import count
from jsep.errors import UserError
from jsep.models import create_model, list_models, model_info
from jsep.results import write_rows
from jsep.tpu.chips import Target, describe
from jsep.tpu.estimate import DoesNotFit, estimate

RESULTS = Path(__file__).parent / "results" / "tpu_zoo.csv"
SIDES = (64, 96, 128, 224, 299)
PAPER = (
    "antnet_g1",
    "dicenet_x1_0",
    "eca_resnet50",
    "inception_v3",
    "mixnet_s",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x1_0",
    "xception",
)
TOPOLOGIES = (
    ("v2", "2x2"),
    ("v3", "2x2"),
    ("v4", "2x2x1"),
    ("v4", "2x2x2"),
    ("v5e", "1x1"),
    ("v5e", "2x2"),
    ("v5e", "2x4"),
    ("v5e", "4x4"),
    ("v5e", "16x16"),
    ("v5p", "2x2x1"),
    ("v5p", "4x4x4"),
    ("v6e", "1x1"),
    ("v6e", "2x4"),
    ("v6e", "16x16"),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One step for one target; bytes, FLOPs and cycles are those of one device.

    Attributes:
        resident: Images of the data set in HBM; 0 for a stream.
        hbm_gb: Arguments, outputs, temporaries and code; for a step that does not fit, its temporaries.
        accessed_gb: Bytes by the compiler's count.
        moved_gb: Bytes to and from HBM.
        code_mcycles: Cycles of the machine code.
        code_ms: Their time; none where the chip's clock is not published.
        mcycles: Cycles that the compiler estimates.
        bound_ms: The larger of FLOPs at the published peak and `moved_gb` at the published bandwidth.
        error: Why the step does not compile.
    """

    table: str
    model: str
    side: int
    chip: str
    topology: str
    batch: int
    devices: int | None = None
    resident: int | None = None
    compile_seconds: float | None = None
    arguments_mb: float | None = None
    temporaries_mb: float | None = None
    hbm_gb: float | None = None
    gflops: float | None = None
    accessed_gb: float | None = None
    moved_gb: float | None = None
    code_mcycles: float | None = None
    code_ms: float | None = None
    mcycles: float | None = None
    binds: str = ""
    bound_ms: float | None = None
    error: str = ""

    @property
    def key(self) -> tuple:
        return self.table, self.model, self.side, self.chip, self.topology, self.batch


def smallest(model: str) -> tuple[int, int]:
    """Return the side of the smallest image that a network takes (of `SIDES`, or its own if smaller) and its layers."""
    published = model_info(model).input_shape[0]
    for side in (published,) if published <= SIDES[0] else SIDES:
        try:
            return side, len(count(create_model(model), (side, side, 3)).rows)
        except UserError:
            continue
    raise AssertionError(model)


def jobs() -> list[Row]:
    """Return all rows without figures: the cheapest network of each family, then the next of each, and so on."""
    known = {model: smallest(model) for model in list_models(task="classification")}
    rounds: Counter[type] = Counter()
    ranked = []
    for model, (side, layers) in sorted(known.items(), key=lambda item: item[1][1]):
        family = type(create_model(model))
        ranked.append((rounds[family], layers, Row("zoo", model, side, "v5e", "1x1", 32)))
        rounds[family] += 1
    published = {model: model_info(model).input_shape[0] for model in PAPER}
    ranked += [(1, known[model][1], Row("paper", model, side, "v5e", "1x1", 128)) for model, side in published.items()]
    for chip, topology in TOPOLOGIES:
        batch = 128 * len(describe(chip, topology))
        ranked.append((1, known["mobilenet_v1"][1], Row("topologies", "mobilenet_v1", 224, chip, topology, batch)))
    return [row for _, _, row in sorted(ranked, key=lambda job: job[:2])]


def measure(job: Row) -> Row:
    """Compile the step of a row and fill in its figures."""
    target = Target(chip=job.chip, topology=job.topology, batch=job.batch, input=(job.side, job.side, 3))
    start = time.perf_counter()
    try:
        found = estimate(job.model, {}, target)
    except UserError as error:
        seconds = round(time.perf_counter() - start, 1)
        needed = round(error.needed / 1e9, 3) if isinstance(error, DoesNotFit) else None
        return dataclasses.replace(job, compile_seconds=seconds, hbm_gb=needed, error=str(error))
    return dataclasses.replace(
        job,
        devices=found.devices,
        resident=found.resident,
        compile_seconds=round(found.compile_seconds, 1),
        arguments_mb=round(found.arguments / 1e6, 1),
        temporaries_mb=round(found.temporaries / 1e6, 1),
        hbm_gb=round(found.hbm / 1e9, 3),
        gflops=round(found.flops / 1e9, 1),
        accessed_gb=round(found.accessed / 1e9, 3),
        moved_gb=round(found.moved / 1e9, 3),
        code_mcycles=round(found.code_cycles / 1e6, 3),
        code_ms=round(found.code_seconds * 1e3, 3) if found.code_seconds else None,
        mcycles=round(found.estimated_cycles / 1e6, 2),
        binds=found.binds,
        bound_ms=round(found.bound_seconds * 1e3, 3),
    )


def read() -> dict[tuple, Row]:
    """Return the rows of the csv file by `key`."""
    if not RESULTS.exists():
        return {}
    with RESULTS.open(newline="") as file:
        rows = [Row(**{name: _typed(name, cell) for name, cell in cells.items()}) for cells in csv.DictReader(file)]
    return {row.key: row for row in rows}


def _typed(name: str, cell: str) -> Any:
    kind = get_type_hints(Row)[name]
    if kind in (str, int):
        return kind(cell)
    return None if not cell else int(cell) if name in ("devices", "resident") else float(cell)


def main(networks: Sequence[str]) -> None:
    """Compile what is missing, several rows at a time, and rewrite the csv after each.

    Args:
        networks: the networks whose rows to compile; none for all.
    """
    console, found = Console(soft_wrap=True, highlight=False), read()
    done = {row.key for row in found.values() if row.error or row.code_mcycles}
    todo = [job for job in jobs() if job.key not in done and job.model in (networks or (job.model,))]
    processes = min(os.cpu_count() or 1, 4)
    # the compiler gives memory back when its process ends
    with get_context("spawn").Pool(processes, leave_accelerators_alone, maxtasksperchild=4) as pool:
        for number, row in enumerate(pool.imap_unordered(measure, todo), start=1):
            found[row.key] = row
            write_rows(RESULTS, list(found.values()))
            outcome = row.error or f"{row.hbm_gb} GB of HBM, {row.binds} bind, {row.code_mcycles} million cycles"
            what = f"{row.table} {row.model} {row.chip}:{row.topology}"
            console.print(f"{number}/{len(todo)} {what}, {row.compile_seconds} s: {outcome}")
        pool.close()  # a process of the compiler that is ended from outside prints its stack
        pool.join()


if __name__ == "__main__":
    run(partial(main, sys.argv[1:]))
