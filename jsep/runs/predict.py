"""Predictions for pictures: what a trained network says about files of any size and format that Pillow reads."""

import contextlib
import dataclasses
import difflib
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from jsep import ops
from jsep.data import normalize
from jsep.data.decode import Unreadable
from jsep.data.imagenet import readable_names
from jsep.data.listing import SUFFIXES
from jsep.data.view import View
from jsep.errors import UserError, require, typed
from jsep.files import local_path
from jsep.runs.loading import load
from jsep.train.per_class import softmax
from jsep.train.select import classes_of

BATCH = 32  # pictures that are decoded and computed at once


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained network that is ready for pictures.

    Attributes:
        name: what to call it.
        class_names: names of the classes, in the order of the logits.
        view: how pictures are prepared.
        logits: function from images of values from 0 to 255 to logits.
    """

    name: str
    class_names: tuple[str, ...]
    view: View
    logits: Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n k"]]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Prediction of a network for a picture.

    Attributes:
        file: the picture.
        classes: names of the most probable classes, the most probable first; empty if the picture cannot be decoded.
        probabilities: their probabilities.
        image: the picture as the network sees it; None if it cannot be decoded.
        error: why it cannot be decoded; otherwise empty.
    """

    file: Path
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    image: UInt8[np.ndarray, "h w c"] | None = None
    error: str = ""


@typed
def open_predictor(source: Path, checkpoint: str = "best") -> Predictor:
    """Open a trained network for pictures, which are prepared as in its evaluation.

    Args:
        source: a run folder, or whatever else `jsep.runs.trained.open_trained` opens.
        checkpoint: "best", "last" or a step.

    Raises:
        UserError: it cannot be opened, or does not say how images are prepared for it.
    """
    model, variables, view = load(source, checkpoint)

    @ops.jit_inference
    def logits(variables: Any, images: UInt8[Array, "n h w c"]) -> Any:
        return model.apply(variables, normalize(images, view.mean, view.std), train=False)

    names, on_device = readable_names(view.class_names, classes_of(variables["params"])), jax.device_put(variables)
    return Predictor(source.name, names, view, lambda x: np.asarray(logits(on_device, x)))


@typed
def find_pictures(words: tuple[str, ...]) -> list[Path]:
    """Return the pictures that words name, each once.

    Args:
        words: files; folders, which stand for all pictures in them and below them, by their suffixes and without hidden
            ones; and patterns such as "holiday/*.jpg", where ** stands for any folders.

    Raises:
        UserError: a word names nothing, or a folder holds no picture.
    """
    if not words:
        raise UserError("No picture is named: give at least one file, folder or pattern")
    found: dict[Path, None] = {}
    for word in words:
        path = local_path(word)
        matches = [path]
        if not os.path.exists(path):
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not matches:
            raise UserError(f"There is no picture {word}{_did_you_mean(path)}: give files, folders or patterns")
        for match in matches:
            pictures = _inside(match) if match.is_dir() else [match]
            if not pictures and match is path:
                raise UserError(f"The folder {word} holds no picture, by the suffixes {' '.join(SUFFIXES)}")
            found |= dict.fromkeys(pictures)
    return list(found)


def _inside(folder: Path) -> list[Path]:
    """Return the pictures in a folder and below it, in order."""
    visible = (path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    return sorted(path for path in visible if path.suffix.lower() in SUFFIXES and path.is_file())


def _did_you_mean(path: Path) -> str:
    """Return the names beside a path that does not exist that may have been meant, as part of a sentence."""
    with contextlib.suppress(OSError):
        close = difflib.get_close_matches(path.name, os.listdir(path.parent), cutoff=0.7)
        return f" (did you mean {' or '.join(str(path.with_name(name)) for name in close)}?)" if close else ""
    return ""


@typed
def predict(predictor: Predictor, files: list[Path], top: int = 5) -> Iterator[Prediction]:
    """Return what a network says about pictures, in their order, as it is computed.

    A picture that cannot be decoded has an `error` instead of classes; it does not stop the others.

    Args:
        predictor: the network.
        files: the pictures.
        top: number of classes to name; all if there are no more.
    """
    require(top >= 1, "top", top, "at least 1")
    return _predictions(predictor, files, min(top, len(predictor.class_names)))


def _predictions(predictor: Predictor, files: Sequence[Path], top: int) -> Iterator[Prediction]:
    """Decode pictures in threads, and compute them in batches of one size, so that there is one program."""
    batch = min(BATCH, len(files))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(files), batch):
            part = list(threads.map(lambda file: _opened(predictor.view, file), files[start : start + batch]))
            images = [one.image for one in part if one.image is not None]
            filled = np.zeros((batch, *predictor.view.shape), np.uint8)
            filled[: len(images)] = images or filled[:0]
            rows = iter(softmax(predictor.logits(filled)) if images else ())
            for one in part:
                yield one if one.error else _named(one, next(rows), predictor.class_names, top)


def _opened(view: View, file: Path) -> Prediction:
    """Read a picture."""
    try:
        return Prediction(file, image=view.of(file.read_bytes()))
    except OSError as error:
        return Prediction(file, error=error.strerror or str(error))
    except Unreadable as error:
        return Prediction(file, error=str(error))


def _named(one: Prediction, row: Float[np.ndarray, " k"], names: Sequence[str], top: int) -> Prediction:
    """Return a prediction with its most probable classes."""
    best = np.argsort(-row, kind="stable")[:top]
    return dataclasses.replace(one, classes=tuple(names[i] for i in best), probabilities=tuple(row[best].tolist()))
