"""The benchmark: a process for each contender, turns, and the resulting figures."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jsep.bench.case import Case
from jsep.bench.config import BenchConfig
from jsep.bench.figure import save_figure
from jsep.bench.jax_contender import network
from jsep.bench.row import BenchRow
from jsep.costs import count
from jsep.files import make_folder
from jsep.results import write_rows

WORKER = Path(__file__).with_name("worker.py")
TICKS = 0.1  # seconds by which the system's busy time may be off, since it samples a hundred times a second
CASE_FIELDS = ("task", "model", "op", "kernel_size", "stride", "features", "batch_size", "dtype")


class WorkerFailed(Exception):
    """A contender that cannot continue. The message is one sentence."""


class Worker:
    """The process of one contender, which answers each line with one line.

    Every question raises `WorkerFailed` if the process reports an error or has ended.
    """

    def __init__(self, python: str | Path, job: Mapping[str, Any], log: IO[str]):
        """Start the process.

        Args:
            python: the interpreter.
            job: the contender, the case and the number of parameters of its network.
            log: the file that receives what the process prints.
        """
        native = {"JSEP_NATIVE": "0"} if job["contender"] in ("jsep.plain", "xla") else {}
        self._process = subprocess.Popen(
            [python, WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **native},
        )
        self._line = json.dumps(job)

    def build(self) -> dict[str, Any]:
        """Build the case, and return the seconds of compilation and of the first call, the device and the kernels."""
        return self._ask(self._line)

    def round(self, iterations: int) -> dict[str, Any]:
        """Run some iterations, and return their seconds and those that other processes were busy."""
        return self._ask(f"round {iterations}")

    def finish(self) -> dict[str, Any]:
        """End the input, and return the peaks of memory and, from jsep, the speed of a matrix product."""
        return self._ask(None)

    def stop(self) -> None:
        """Kill the process."""
        with contextlib.suppress(BrokenPipeError), self._process:  # waits and closes the pipes
            self._process.kill()

    def _ask(self, line: str | None) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        with contextlib.suppress(BrokenPipeError):  # a dead worker answers with nothing, below
            if line is None:
                stdin.close()
            else:
                print(line, file=stdin, flush=True)
        answer = stdout.readline()
        if not answer:
            raise WorkerFailed(f"its process ended with code {self._process.wait()}: see the end of bench.log")
        values = json.loads(answer)
        if "error" in values:
            raise WorkerFailed(values["error"])
        return values


def bench(config: BenchConfig, console: Console) -> list[BenchRow]:
    """Measure every case with every contender, and write bench.csv, bench.png and bench.svg.

    Args:
        config: the cases, the contenders and the folder of the files.
        console: for the progress and a table of each case.

    Returns:
        A row for each case and contender. If a contender fails, its row says why.

    Raises:
        UserError: the input cannot work.
    """
    cases = config.cases()
    tables = [count(network(case), case.input_shape) for case in cases]  # refuses wrong cases before any work
    make_folder(config.out)
    rows: list[BenchRow] = []
    with (config.out / "bench.log").open("w") as log:
        for case, table in zip(cases, tables, strict=True):
            found = _race(case, table.params, config, log, console)
            new = _rows(case, case.batch_size * table.macs, found, config)
            _print(case, new, console)
            rows += new
            write_rows(config.out / "bench.csv", rows)
    save_figure(config.out, rows)
    return rows


@dataclass
class _Found:
    """The answers of a contender so far: its facts and its rounds."""

    facts: dict[str, Any]
    rounds: list[dict[str, Any]]
    note: str = ""

    @property
    def seconds(self) -> list[list[float]]:
        return [one["seconds"] for one in self.rounds]

    @property
    def foreign_cores(self) -> float | None:
        if not self.rounds or self.rounds[0]["foreign"] is None:
            return None
        seconds, wall = (sum(one[key] for one in self.rounds) for key in ("foreign", "wall"))
        return max(0.0, seconds - TICKS) / wall


def _race(case: Case, params: int, config: BenchConfig, log: IO[str], console: Console) -> dict[str, _Found]:
    found = {contender: _Found({}, []) for contender in config.contenders}
    workers: dict[str, Worker] = {}

    with contextlib.ExitStack() as stack, console.status(str(case)) as status:

        def turn(contender: str, doing: str) -> None:
            """Give a contender a turn, unless it has failed."""
            worker, mine = workers[contender], found[contender]
            if mine.note:
                return
            status.update(f"{case}: {contender}, {doing}")
            try:
                match doing:
                    case "building":
                        mine.facts |= worker.build()
                    case "finishing":
                        mine.facts |= worker.finish()
                    case _:
                        mine.rounds.append(worker.round(config.iterations))
            except WorkerFailed as error:
                mine.note = str(error)

        for contender in config.contenders:  # one after the other, so that none disturbs another's compilation
            elsewhere = config.torch_python if contender.startswith("torch") else None
            worker = Worker(
                elsewhere or sys.executable, {"contender": contender, "case": asdict(case), "params": params}, log
            )
            workers[contender] = worker
            stack.callback(worker.stop)
            turn(contender, "building")
        for i in range(config.rounds):
            for contender in config.contenders:
                turn(contender, f"round {i + 1} of {config.rounds}")
        for contender in config.contenders:
            turn(contender, "finishing")
    return found


def _rows(case: Case, macs: int, found: Mapping[str, _Found], config: BenchConfig) -> list[BenchRow]:
    work = 2 * macs * (3 if case.task == "train" else 1)
    ours = found.get("jsep", _Found({}, [], "absent"))
    about: dict[str, Any] = {
        "case": str(case),
        "options": " ".join(f"{key}={value}" for key, value in case.options.items()),
        "input_shape": "x".join(map(str, case.input_shape)),
        **{key: getattr(case, key) for key in CASE_FIELDS},
        "rounds": config.rounds,
        "iterations": config.iterations,
        "matmul_gflops": ours.facts.get("matmul_gflops"),
        "macs": macs,
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "jax": _version("jax"),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    rows = []
    for contender, its in found.items():
        facts, note = its.facts, its.note
        median = low = high = ratio = None
        if not note:
            low, median, high = (float(t) for t in np.percentile(np.concatenate(its.seconds), (10, 50, 90)))
            if facts["device"] == ours.facts.get("device") and not ours.note:
                pairs = zip(its.seconds, ours.seconds, strict=True)
                ratio = float(np.median([np.median(theirs) / np.median(base) for theirs, base in pairs]))
            elif not ours.note:
                note = "another device than jsep's: no ratio"
        rows.append(
            BenchRow(
                contender=contender,
                ms=median and 1e3 * median,
                ms_p10=low and 1e3 * low,
                ms_p90=high and 1e3 * high,
                ratio=ratio,
                images_per_second=None if case.op or not median else case.batch_size / median,
                gflops=median and work / median / 1e9,
                compile_seconds=facts.get("compile_seconds"),
                first_call_seconds=facts.get("first_call_seconds"),
                peak_mb=facts.get("peak_mb"),
                running_mb=facts.get("running_mb"),
                foreign_cores=its.foreign_cores,
                device=facts.get("device", ""),
                torch=facts.get("torch", ""),
                native=facts.get("native", ""),
                note=note,
                **about,
            )
        )
    return rows


def _print(case: Case, rows: Sequence[BenchRow], console: Console) -> None:
    table = Table(box=None, pad_edge=False, title=str(case), title_justify="left", title_style="bold")
    table.add_column("", min_width=13)
    widths = {"ms": 9, "10-90 %": 17, "x jsep": 6, "images/s": 8, "GFLOP/s": 7, "compile s": 9}
    widths |= {"peak MB": 7, "running": 7}
    for heading, width in widths.items():
        table.add_column(heading, justify="right", min_width=width)
    table.add_column("", overflow="fold")
    for row in rows:
        if row.ms is None:
            table.add_row(row.contender, *["-"] * len(widths), row.note)
            continue
        table.add_row(
            row.contender,
            f"{row.ms:,.2f}",
            f"{row.ms_p10:,.2f}-{row.ms_p90:,.2f}",
            _shown(row.ratio, ".2f"),
            _shown(row.images_per_second, ",.0f"),
            _shown(row.gflops, ",.1f"),
            _shown(row.compile_seconds, ".1f"),
            _shown(row.peak_mb, ",.0f"),
            _shown(row.running_mb, ",.0f"),
            row.note,
        )
    # wide enough for every figure if the output is not a terminal
    wide = Console(file=console.file, width=200, quiet=console.quiet, highlight=False)
    (console if console.is_terminal else wide).print(table)
    for row in rows:
        if row.contender == "jsep" and row.ms is not None:
            console.print(f"Native kernels of jsep: {row.native or 'none'}")
    if rate := rows[0].matmul_gflops:
        console.print(f"A product of 1024x1024 matrices in {case.dtype}, in the same run: {rate:,.0f} GFLOP/s")
    if any(row.disturbed for row in rows):
        foreign = max(row.foreign_cores or 0.0 for row in rows)
        console.print(f"Disturbed: other processes kept {foreign:.1f} cores busy. Measure again on an idle machine.")
    console.print()


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Return the name of the CPU, which JAX only calls cpu."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
