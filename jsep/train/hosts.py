"""Several processes that train one network together. The one file that knows jax.distributed.

Every process runs the same program on its own devices and its own share of each batch; the first one writes the files.
"""

import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from jax.experimental import multihost_utils

from jsep.errors import UserError, first_line

SILENCE = 30  # seconds without a sign of life after which a process counts as gone and JAX ends all others
CHILD = "JSEP_SUPERVISED"  # set in the process that trains


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Where the processes meet. SLURM's and a TPU pod's environment is seen without any of these."""

    coordinator: str | None = None
    """Where process 0 listens, as HOST:PORT, the same for all; or auto, to ask Cloud TPU, Kubernetes or Open MPI."""
    processes: int | None = None
    """How many processes train together."""
    process_id: int | None = None
    """Which of them this is, from 0."""

    def __post_init__(self) -> None:
        own = (self.processes, self.process_id)
        if self.coordinator in (None, "auto"):
            if own != (None, None):
                raise UserError("`processes` and `process_id` need `coordinator`=HOST:PORT, the same for all processes")
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"`coordinator`={self.coordinator}: give HOST:PORT of process 0, such as 10.0.0.1:8476")
        if self.processes is None or self.process_id is None:
            raise UserError("`coordinator` needs `processes` (how many) and `process_id` (which of them this is), too")
        if not 0 <= self.process_id < self.processes:
            raise UserError(f"`process_id`={self.process_id}: there are {self.processes} processes, counted from 0")

    @property
    def several(self) -> bool:
        """Whether the flags or the environment speak of more than one process."""
        slurm = "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1
        pod = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
        return self.coordinator is not None or slurm or pod

    def join(self) -> None:
        """Meet the others; before anything touches a device."""
        if sys.platform == "linux":  # whoever kills the supervisor means this process
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        given = None if self.coordinator == "auto" else self.coordinator
        try:
            jax.distributed.initialize(
                given,
                self.processes,
                self.process_id,
                heartbeat_timeout_seconds=SILENCE,
                shutdown_timeout_seconds=SILENCE,
            )
        except (RuntimeError, ValueError) as error:
            where = f"at {given}" if given else "by the environment"
            raise UserError(
                f"The processes did not find each other {where} ({first_line(error)}): "
                "check `coordinator`, and that every process was started"
            ) from error


def is_first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return jax.process_index() == 0


def share() -> tuple[int, int]:
    """This process's index and their number: the share of every batch that it reads."""
    return jax.process_index(), jax.process_count()


def wait(reason: str) -> None:
    """Until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(reason)


def supervise(words: Sequence[str], out: Path) -> int:
    """Run `jsep` with `words` in a process of its own and return its exit code.

    When another process dies, JAX aborts this one from C++, where no sentence can be said: it is said here.
    """
    process = subprocess.Popen([sys.executable, "-m", "jsep", *words], env={**os.environ, CHILD: "1"})
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # the terminal sends it to both
            continue
    if code < 0:
        print(
            f"jsep: Stopped, because another process is gone or this one was killed ({signal.Signals(-code).name}). "
            f"The last whole checkpoint is in {out}: start all processes again with --resume",
            file=sys.stderr,
        )
        return 1
    return code
