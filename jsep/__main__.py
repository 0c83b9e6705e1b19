"""The `jsep` command, and `python -m jsep`."""

import os
import platform
import sys


def run() -> int:
    """Start the command line, on huge pages where the system offers them."""
    _take_huge_pages()
    from jsep.cli import main

    return main()


def _take_huge_pages() -> None:
    """Start again with glibc's allocator on huge pages, unless its tunables are set already.

    On a CPU, XLA allocates the temporaries of a step anew at each call. On pages of 4 KiB the first touch of each page
    then takes up to a third of a training step. The allocator reads its tunables as a process starts, hence the exec.
    A library must not do this to its user's process; a command may do it to its own.
    """
    if platform.libc_ver()[0] == "glibc" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, sys.orig_argv)


if __name__ == "__main__":
    sys.exit(run())
