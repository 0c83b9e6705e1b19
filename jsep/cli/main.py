"""The `jsep` command: dispatches to the file of each command, and turns errors into messages and exit codes."""

import errno
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from jsep.errors import Diverged, Interrupted, NotWritten, UserError, nearest, with_flags

HELP = """\
jsep: efficient convolutional networks in JAX and Flax.

  jsep models [PATTERN]         list the networks with their parameters, multiply-accumulates and sources
  jsep show MODEL               print the layers of one network
  jsep train [MODEL]            train a network into a run folder; --resume continues
  jsep eval RUN                 print the figures of a run's checkpoint, such as its accuracy; --per-class looks closer
  jsep predict SOURCE PICTURES  print what a network says of pictures; --json, --sheet and --draw write files
  jsep compare [EXPERIMENT]     train the networks of an experiment and write a report
  jsep bench [MODEL]            time a network against plain Flax and PyTorch
  jsep decompose RUN            replace the dense convolutions of a trained run by cheaper ones
  jsep tpu MODEL                estimate a training step on a TPU without having one: memory, traffic, bound of its time
  jsep data list|prepare        list the data sets, or prepare one
  jsep port MODEL [FILE]        convert weights from PyTorch or Keras; --check compares both networks stage by stage
  jsep export RUN --to FORMAT   export the network of a run to StableHLO, ONNX, TFLite or safetensors

For the flags of a command: jsep train --help.
To begin: jsep show separable_cnn, then jsep compare.
"""

# each command's module in this package, which has `run(argv)`
COMMANDS = {
    "models": "models",
    "show": "show",
    "train": "train",
    "eval": "evaluate",
    "predict": "predict",
    "compare": "compare",
    "bench": "bench",
    "decompose": "decompose",
    "tpu": "tpu",
    "data": "data",
    "port": "port",
    "export": "export",
}


def run_command(name: str, argv: Sequence[str]) -> int:
    """Import the module of a command, run it, and return its exit code."""
    return importlib.import_module(f"jsep.cli.{COMMANDS[name]}").run(argv) or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code.

    The codes are 0 for success, 1 for a training that diverged or a full disk, 2 for bad input, and 130 for Ctrl-C.

    Args:
        argv: the command and its flags; None means those of the process.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    try:
        if argv[0] == "--version":
            from jsep import __version__
            from jsep.native import kernels, why_not

            print(f"jsep {__version__}, native kernels: {kernels() or f'none, {why_not()}'}")
            return 0
        if argv[0] not in COMMANDS:
            raise UserError(f"There is no command {argv[0]!r}; {nearest(argv[0], COMMANDS)}")
        _quiet_libraries()
        return run_command(argv[0], argv[1:])
    except UserError as error:
        return _fail(error, 2)
    except (Diverged, NotWritten) as error:
        return _fail(error, 1)
    except Interrupted as error:
        return _fail(error, 130)
    except KeyboardInterrupt:
        return _fail("Stopped.", 130)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"A file could not be written ({error.strerror}): make room, then start again", 1)
        if not error.filename:
            raise
        return _fail(f"{error.filename} cannot be used ({error.strerror or error}): give another path", 2)


def _fail(error: object, code: int) -> int:
    print(f"jsep: {with_flags(str(error))}", file=sys.stderr)
    return code


def _quiet_libraries() -> None:
    """Show only errors of TensorFlow and JAX, and print each warning as one line.

    Orbax, which logs through absl and asyncio, adds dozens of lines to each exception that it raises as well, and that
    ends in a sentence of ours.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the TFLite converter prints about them at every log level
    logging.getLogger("jax").setLevel(logging.ERROR)
    for name in ("absl", "orbax", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    sys.unraisablehook = _print_unraisable
    warnings.formatwarning = lambda message, *_: f"jsep: {message}\n"


def _print_unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Print an exception that no caller can catch, except for that of TensorStore after a failed read or write.

    Its threads then still report to an event loop that Orbax has closed.
    """
    if str(found.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(found)
