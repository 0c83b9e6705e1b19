"""The entry point of `jsep` and `python -m jsep`."""

import os
import platform
import sys

# glibc keeps freed memory of any size, on pages of 2 MiB
TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1"
    ":glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"
)


def run() -> int:
    """Run the command line with an allocator that suits XLA on a CPU, and return its exit code."""
    _tune_allocator()
    from jsep.cli.main import main

    return main()


def _tune_allocator() -> None:
    """Restart the process with glibc's allocator tuned, unless its tunables are already set.

    On a CPU, XLA allocates the temporaries and results of a step again at each call, and glibc returns large buffers to
    the system at once. Touching their pages for the first time then takes up to half of the time of an operation. glibc
    reads its tunables only when a process starts, hence the exec. A command may do this to its own process; a library
    must not.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        os.execv(sys.executable, sys.orig_argv)


if __name__ == "__main__":
    sys.exit(run())
