"""Opening an exported file for pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jsep.data.class_names import readable_names
from jsep.data.view import View
from jsep.errors import UserError, first_line, typed
from jsep.export.run import FORMATS
from jsep.files import local_path
from jsep.runs.predict import Predictor
from jsep.train.setup import TASKS

_RUN = [name for name in FORMATS if name != "safetensors"]  # formats of files that can be run


def is_exported(path: Path) -> bool:
    """Return whether a path is by its name that of an exported file that can be run."""
    return path.suffix[1:] in _RUN and not path.is_dir()


@typed
def open_exported(path: Path) -> Predictor:
    """Open an exported file for pictures. How they are prepared is in the facts beside it, FILE.json.

    Args:
        path: a .stablehlo, .onnx or .tflite file.

    Raises:
        UserError: the file or its facts are missing or damaged, or the extra of the format is not installed.
    """
    path = local_path(path)
    to = path.suffix[1:]
    if not path.is_file():
        raise UserError(f"There is no file {path}: jsep export writes one")
    facts = path.with_name(f"{path.name}.json")
    if not facts.is_file():
        raise UserError(f"{facts} is missing, which names the classes: copy it from where {path.name} comes from")
    try:
        known = json.loads(facts.read_text(encoding="utf-8"))
        height, width, channels = map(int, known["image_shape"])
        share, interpolation = float(known.get("crop_share", 1.0)), str(known.get("interpolation", "bilinear"))
        task = TASKS[known.get("task", "classification")].name
        view = View((height, width, channels), share, interpolation, task=task)
        names = readable_names([str(name) for name in known["class_names"]], int(known["num_classes"]))
        model = str(known["model"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{facts} cannot be read ({first_line(error)}): export the network again") from error
    try:
        function = FORMATS[to].load(path)
    except ImportError as error:
        raise UserError(f"{path} needs {error.name}, which is not installed: pip install 'jsep[{to}]'") from error
    except Exception as error:  # each runtime raises its own
        raise UserError(f"{path} cannot be read ({first_line(error)}): export the network again") from error

    def answer(images: UInt8[np.ndarray, "n h w c"]) -> Any:
        found = function(images.astype(np.float32) / np.float32(255))
        return found.argmax(-1).astype(np.uint8) if task == "segmentation" else found

    return Predictor(f"{path.name} ({model})", names, view, answer, task)
