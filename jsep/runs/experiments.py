"""Experiment files: found by name or path, and loaded."""

import importlib.util
import os
from pathlib import Path

import jsep
from jsep.errors import UserError, nearest
from jsep.files import local_path
from jsep.runs.comparison import Comparison


def find_experiment(name: str) -> Path:
    """Return the path of an experiment file.

    Args:
        name: a path, or the name of an experiment that comes with jsep.

    Raises:
        UserError: there is no such experiment.
    """
    path = local_path(name)
    if os.path.isfile(path):  # unlike Path.is_file, also for names that are too long
        return path
    package = Path(jsep.__file__).parent  # in a checkout the experiments are beside it, in a wheel inside it
    folders = (package.parent / "experiments", package / "experiments")
    shipped = {file.stem: file for folder in folders for file in sorted(folder.glob("*.py"))}
    if path.stem not in shipped:
        raise UserError(f"There is no experiment {name!r}; {nearest(path.stem, shipped)}")
    return shipped[path.stem]


def load_experiment(path: Path) -> tuple[Comparison, str]:
    """Run a Python file, and return its value `experiment` and its docstring.

    Raises:
        UserError: the file cannot be run, or does not define an experiment.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not an experiment: it must be a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # whatever the file's own code raises
        raise UserError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    experiment = getattr(module, "experiment", None)
    if not isinstance(experiment, Comparison):
        raise UserError(f"{path} is not an experiment: it must define experiment = Comparison(...)")
    return experiment, module.__doc__ or ""
