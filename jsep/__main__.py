"""The `jsep` command, and `python -m jsep`."""

import os
import platform
import sys

# glibc keeps what it was given back, whatever its size, on pages of 2 MiB
TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
    ":glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"
)


def run() -> int:
    """Start the command line, with an allocator that suits XLA on a CPU."""
    _tune_allocator()
    from jsep.cli.main import main

    return main()


def _tune_allocator() -> None:
    """Start again with glibc's allocator tuned, unless its tunables are set already.

    On a CPU, XLA allocates the temporaries and results of a step anew at each call, and glibc hands large ones back to
    the system at once. Touching their pages for the first time then takes up to half of the time of an operation.
    The allocator reads its tunables as a process starts, hence the exec.
    A library must not do this to its user's process; a command may do it to its own.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, sys.orig_argv)


if __name__ == "__main__":
    sys.exit(run())
