"""Files in experiments/: found by name or path, and opened."""

import importlib.util
from pathlib import Path

from jsep.errors import UserError, nearest
from jsep.train import Comparison


def find_experiment(name: str) -> Path:
    """An experiment by path, or by name among those that come with jsep."""
    path = Path(name)
    if path.is_file():
        return path
    package = Path(__file__).parent  # in a checkout the experiments lie beside it, in a wheel inside
    folders = (package.parent / "experiments", package / "experiments")
    shipped = {file.stem: file for folder in folders for file in sorted(folder.glob("*.py"))}
    shipped = {stem: file for stem, file in shipped.items() if "\nexperiment = " in file.read_text()}  # not scripts
    if path.stem not in shipped:
        raise UserError(f"There is no experiment {name!r}; {nearest(path.stem, shipped)}")
    return shipped[path.stem]


def load_experiment(path: Path) -> tuple[Comparison, str]:
    """The value `experiment` of a Python file, and the file's docstring."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no experiment: it must be a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # whatever the file's own code raises
        raise UserError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    experiment = getattr(module, "experiment", None)
    if not isinstance(experiment, Comparison):
        raise UserError(f"{path} is no experiment: it must define experiment = Comparison(...)")
    return experiment, module.__doc__ or ""
