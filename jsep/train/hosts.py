"""Several processes that train one network together. The only file that knows `jax.distributed`.

Every process runs the same program on its own devices with its own share of each batch; the first one writes the files.
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

SILENCE = 30  # seconds without a heartbeat after which a process counts as lost and JAX ends all others
CHILD = "JSEP_SUPERVISED"  # environment variable that marks the process that trains, the child of `supervise`


@dataclasses.dataclass(frozen=True)
class Hosts:
    """Meeting point of several processes that train together; not needed under SLURM and on TPU pods."""

    coordinator: str | None = None
    """HOST:PORT where process 0 listens, the same for all processes; auto asks Cloud TPU, Kubernetes or Open MPI."""
    processes: int | None = None
    """Number of processes that train together."""
    process_id: int | None = None
    """Index of this process, from 0."""

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
            raise UserError("`coordinator` needs `processes`, their number, and `process_id`, the index of this one")
        if not 0 <= self.process_id < self.processes:
            raise UserError(f"`process_id`={self.process_id}: there are {self.processes} processes, counted from 0")

    @property
    def several(self) -> bool:
        """Whether the fields or the environment announce more than one process."""
        slurm = "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1
        pod = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
        return self.coordinator is not None or slurm or pod

    def join(self) -> None:
        """Connect to the other processes. This must happen before JAX touches a device.

        Raises:
            UserError: the processes do not find each other.
        """
        if sys.platform == "linux":  # a killed supervisor takes this process with it
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
            where = f"at {given}" if given else "from the environment"
            raise UserError(
                f"The processes did not find each other {where} ({first_line(error)}): "
                "check `coordinator`, and that every process was started"
            ) from error


def is_first() -> bool:
    """Return whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def share() -> tuple[int, int]:
    """Return the index of this process and the number of processes, which say what share of every batch it reads."""
    return jax.process_index(), jax.process_count()


def wait(reason: str) -> None:
    """Wait until all processes have reached this point.

    Args:
        reason: name of the barrier; JAX raises an error if processes wait at different ones.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(reason)


def supervise(words: Sequence[str], out: Path) -> int:
    """Run a `jsep` command in a child process.

    When another process dies, JAX aborts the one that trains from C++, where it cannot print a message. The parent
    prints one instead.

    Args:
        words: the command and its flags.
        out: the run folder that the message names.

    Returns:
        The exit code of the command, or 1 if a signal ended it.
    """
    process = subprocess.Popen([sys.executable, "-m", "jsep", *words], env={**os.environ, CHILD: "1"})
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # the terminal sends it to the child, too, which saves and ends
            continue
    if code < 0:
        print(
            f"jsep: Stopped because another process is gone or this one was killed ({signal.Signals(-code).name}). "
            f"The last complete checkpoint is in {out}: start all processes again with --resume",
            file=sys.stderr,
        )
        return 1
    return code
