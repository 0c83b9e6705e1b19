"""How the studies that compile for a TPU are run: beside one that may be there, and to a sentence where they cannot."""

import sys
from collections.abc import Callable

import jax

from jsep.errors import UserError


def leave_accelerators_alone() -> None:
    """Let JAX use the CPU only."""
    jax.config.update("jax_platforms", "cpu")


def run(main: Callable[[], None]) -> None:
    """Run a study, and end in a sentence where libtpu is missing or something was mistyped."""
    leave_accelerators_alone()
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
