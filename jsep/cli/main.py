"""The `jsep` command: finds the command's file, and turns errors into sentences and exit codes."""

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from jsep.errors import Diverged, Interrupted, UserError, nearest, with_flags

HELP = """\
jsep: efficient convolutional networks in JAX and Flax.

  jsep models [PATTERN]         list the networks: parameters, multiply-accumulates, where the facts come from
  jsep show MODEL               print the layers of one network
  jsep train [MODEL]            train a network into a run folder; --resume goes on
  jsep eval RUN                 print the accuracy and loss of a run's checkpoint
  jsep compare [EXPERIMENT]     train the networks of an experiment and make a report of them
  jsep bench [MODEL]            time a network beside plain Flax and PyTorch
  jsep decompose RUN            turn the dense convolutions of a trained run into separable ones, in a new run folder
  jsep tpu MODEL                compile a training step for a TPU that need not be present: memory, traffic, bounds
  jsep data list|prepare        list the data sets, say what preparing one needs, and prepare it
  jsep port MODEL [FILE]        take over weights from PyTorch; --check compares both networks stage by stage
  jsep export RUN --to FORMAT   write a run's network as StableHLO, ONNX, TFLite or safetensors, and check the file

Each command explains itself: jsep train --help.
A first look: jsep show separable_cnn, then jsep compare.
"""

# the file in this folder that has `run(argv)`
COMMANDS = {
    "models": "models",
    "show": "show",
    "train": "train",
    "eval": "evaluate",
    "compare": "compare",
    "bench": "bench",
    "decompose": "decompose",
    "tpu": "tpu",
    "data": "data",
    "port": "port",
    "export": "export",
}


def run_command(name: str, argv: Sequence[str]) -> int:
    """Import the file of a command and run it; returns its exit code."""
    return importlib.import_module(f"jsep.cli.{COMMANDS[name]}").run(argv) or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 2 for bad input, 1 for a diverged training, 130 for Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    try:
        if argv[0] == "--version":
            from jsep import __version__

            print(f"jsep {__version__}")
            return 0
        if argv[0] not in COMMANDS:
            raise UserError(f"There is no command {argv[0]!r}; {nearest(argv[0], COMMANDS)}")
        _quiet_libraries()
        return run_command(argv[0], argv[1:])
    except UserError as error:
        return _fail(error, 2)
    except Diverged as error:
        return _fail(error, 1)
    except Interrupted as error:
        return _fail(error, 130)
    except KeyboardInterrupt:
        return _fail("Stopped.", 130)


def _fail(error: object, code: int) -> int:
    print(f"jsep: {with_flags(str(error))}", file=sys.stderr)
    return code


def _quiet_libraries() -> None:
    """Show only the errors of absl, TensorFlow's readers, Orbax and JAX, and our own warnings as one line each."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the converter to TFLite announces them at any log level
    for name in ("absl", "orbax", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.formatwarning = lambda message, *_: f"jsep: {message}\n"
