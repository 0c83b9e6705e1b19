"""The process of one contender. The parent runs this file as a script.

It reads a job, which is one line of JSON, then any number of lines "round N", then the end of the input. It answers
each with a line of JSON: the seconds of building and of the first call, the seconds of N iterations, the peaks of
memory. After an answer with an `error` it ends.
"""

import ctypes
import json
import math
import os
import resource
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
LEAST = 0.02  # seconds of a measurement: calls that take less are repeated, and the mean of them counts


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        job = json.loads(sys.stdin.readline())
        run, compile_seconds, device = _build(job)
        first, second = _seconds(run), _seconds(run)
        calls = max(1, math.ceil(LEAST / second))
        # some contenders compile before the first call, others during it
        compile_seconds += max(0.0, first - second)
        torch = getattr(sys.modules.get("torch"), "__version__", "")
        facts = {"device": device, "torch": str(torch), "native": _native(job)}
        compiling_mb, apart = _peak_mb(), _begin_peak()
        answer(compile_seconds=compile_seconds, first_call_seconds=first, **facts)
        for line in sys.stdin:
            start, own, all_busy = time.perf_counter(), time.process_time(), _busy_seconds()
            seconds = [_seconds(run, calls) for _ in range(int(line.removeprefix("round ")))]
            wall, own, now_busy = time.perf_counter() - start, time.process_time() - own, _busy_seconds()
            foreign = None if all_busy is None or now_busy is None else now_busy - all_busy - own
            answer(seconds=seconds, wall=wall, foreign=foreign)
        running_mb = _peak_mb()
        rate = None
        if job["contender"] == "jsep":
            from jsep.bench.jax_contender import matmul_gflops

            rate = matmul_gflops(job["case"]["dtype"])
        peak_mb = max(compiling_mb, running_mb)
        answer(peak_mb=peak_mb, running_mb=running_mb if apart else None, matmul_gflops=rate)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        words = str(error).strip().splitlines() or ["no message"]
        plain = isinstance(error, LookupError) and not isinstance(error, KeyError)
        sentence = words[0] if plain else f"{type(error).__name__}: {words[0]}"
        answer(error="torch is not installed: pip install 'jsep[torch]'" if missing else sentence)


def _build(job: dict[str, Any]) -> tuple[Callable[[], Any], float, str]:
    sys.path[0] = str(PACKAGE.parent)  # instead of this file's folder
    if job["contender"].startswith("torch"):
        # skip each package's __init__, which imports JAX: only PyTorch's memory is to be measured
        for name, folder in (("jsep", PACKAGE), ("jsep.bench", PACKAGE / "bench")):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [str(folder)]
        from jsep.bench import torch_contender
        from jsep.bench.case import Case

        return torch_contender.build(Case.from_json(job["case"]), job["contender"], job["params"])
    from jsep.bench import jax_contender
    from jsep.bench.case import Case

    return jax_contender.build(Case.from_json(job["case"]), job["contender"])


def _native(job: dict[str, Any]) -> str:
    """Return the set of instructions of the native kernels, if the contender can use any."""
    if job["contender"].startswith("torch"):
        return ""
    from jsep.native import enabled, kernels

    return kernels() if enabled() else ""


def _seconds(run: Callable[[], Any], calls: int = 1) -> float:
    """Return the mean seconds of calls in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def _busy_seconds() -> float | None:
    """Return the busy seconds of all cores since the machine started, or None if the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _peak_mb() -> float:
    """Return the peak memory of this process in MiB.

    On Linux, `getrusage` includes what the parent held when it started this process; /proc/self/status does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _begin_peak() -> bool:
    """Return freed memory to the system and begin a new peak, and say whether the system could do both.

    A compiler leaves hundreds of megabytes on the heap, free but not returned, which would hide what a step takes.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (AttributeError, OSError, TypeError):  # not Linux with the GNU C library
        return False
    return True


if __name__ == "__main__":
    main()
