"""Predictions for pictures: what a trained network says about files of any size and format that Pillow reads.

A classifier names classes of the part of a picture that it sees; a detector finds objects and a segmenter regions in
the whole picture, which are given in its own pixels.
"""

import contextlib
import dataclasses
import difflib
import glob
import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from jsep import ops
from jsep.boxes import Detections
from jsep.data import normalize
from jsep.data.class_names import readable_names
from jsep.data.decode import Unreadable, decode
from jsep.data.listing import SUFFIXES
from jsep.data.view import View
from jsep.errors import UserError, require, typed
from jsep.files import local_path
from jsep.models.factored import Factored
from jsep.models.registry import Task
from jsep.report.drawing import draw_boxes, draw_mask
from jsep.runs.loading import load
from jsep.train.per_class import softmax
from jsep.train.setup import TASKS

BATCH = 32  # pictures that are decoded and computed at once
SCORE = 0.3  # least score of objects that are named


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained network that is ready for pictures.

    Attributes:
        name: what to call it.
        class_names: names of the classes, in the order of the logits; of a detector without the background.
        view: how pictures are prepared.
        answer: function from images of values from 0 to 255 to the logits of a classifier (n, k), the
            `jsep.boxes.Detections` of a detector in pixels of these images, or the mask of a segmenter (n, h, w).
        task: what the network does.
    """

    name: str
    class_names: tuple[str, ...]
    view: View
    answer: Callable[[UInt8[np.ndarray, "n h w c"]], Any]
    task: Task = "classification"


class Object(NamedTuple):
    """An object in a picture.

    Attributes:
        label: its class.
        name: the name of its class.
        score: how sure the network is, from 0 to 1; NaN of what an annotation says.
        box: (x1, y1, x2, y2) in pixels of the picture.
    """

    label: int
    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Prediction of a network for a picture, or what an annotation says is in it.

    Attributes:
        file: the picture; an empty path if it was no file.
        classes: names of the most probable classes, the most probable first; of a segmenter, names of the largest
            regions. Empty if the picture cannot be decoded.
        probabilities: their probabilities; of a segmenter, their shares of the picture.
        image: the picture as a classifier sees it, or the whole one; None if it cannot be decoded.
        error: why it cannot be decoded; otherwise empty.
        objects: what a detector found, the surest first; None of other networks.
        mask: what a segmenter found: the class of each pixel of the picture.
    """

    file: Path
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    image: UInt8[np.ndarray, "h w c"] | None = None
    error: str = ""
    objects: tuple[Object, ...] | None = None
    mask: UInt8[np.ndarray, "h w"] | None = None

    @property
    def told(self) -> str:
        """The content of the picture in words.

        >>> things = [Object(0, name, 0.9, (0, 0, 1, 1)) for name in ("cell", "disc", "cell")]
        >>> Prediction(Path(), objects=tuple(things)).told
        '2 cell, 1 disc'
        """
        if self.objects is not None:
            numbers = Counter(one.name for one in self.objects)
            return ", ".join(f"{number} {name}" for name, number in numbers.most_common()) or "none"
        shares = zip(self.classes, self.probabilities, strict=True)
        return ", ".join(f"{share:.0%} {'class ' * name.isdecimal()}{name}" for name, share in shares)

    def fitted(self, side: int) -> "Prediction":
        """Return the prediction for the picture, scaled down until its longer side fits a number of pixels."""
        assert self.image is not None
        height, width = self.image.shape[:2]
        if (share := side / max(height, width)) >= 1:
            return self
        size = max(1, round(share * width)), max(1, round(share * height))
        x, y = size[0] / width, size[1] / height
        picture = Image.fromarray(self.image[..., 0] if self.image.shape[-1] == 1 else self.image)
        image = np.asarray(picture.resize(size, Image.Resampling.BILINEAR)).reshape(size[1], size[0], -1)
        objects, mask = self.objects, self.mask
        if objects is not None:
            objects = tuple(
                one._replace(box=(x * one.box[0], y * one.box[1], x * one.box[2], y * one.box[3])) for one in objects
            )
        if mask is not None:
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        return dataclasses.replace(self, image=image, objects=objects, mask=mask)

    def drawn(self, class_names: Sequence[str]) -> UInt8[np.ndarray, "h w c"]:
        """Return the picture with the objects or regions drawn into it.

        Args:
            class_names: names of all classes.
        """
        assert self.image is not None
        if self.mask is not None:
            return draw_mask(self.image, self.mask, class_names)
        if self.objects is not None:
            boxes = np.array([one.box for one in self.objects]).reshape(-1, 4)
            said = [one.name if math.isnan(one.score) else f"{one.name} {one.score:.0%}" for one in self.objects]
            return draw_boxes(self.image, boxes, [one.label for one in self.objects], said)
        return self.image


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
    task, network = TASKS[view.task], model.network if isinstance(model, Factored) else model

    @ops.jit_inference
    def answer(variables: Any, images: UInt8[Array, "n h w c"]) -> Any:
        output = model.apply(variables, normalize(images, view.mean, view.std), train=False)
        return task.answer(network, output, (images.shape[1], images.shape[2]))

    names = readable_names(view.class_names, getattr(network, "num_classes") - task.background, task.name)  # noqa: B009
    on_device = jax.device_put(variables)
    return Predictor(source.name, names, view, lambda x: jax.device_get(answer(on_device, x)), task.name)


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
def predict(
    predictor: Predictor, files: Sequence[Path | bytes], top: int = 5, score: float = SCORE
) -> Iterator[Prediction]:
    """Return what a network says about pictures, in their order, as it is computed.

    A picture that cannot be decoded has an `error` instead of classes; it does not stop the others.

    Args:
        predictor: the network.
        files: the pictures, or their content.
        top: number of classes to name; all if there are no more.
        score: least score of the objects that are named.
    """
    require(top >= 1, "top", top, "at least 1")
    require(0 <= score <= 1, "score", score, "from 0 to 1")
    return _predictions(predictor, files, top, score)


def _predictions(predictor: Predictor, files: Sequence[Path | bytes], top: int, score: float) -> Iterator[Prediction]:
    """Decode pictures in threads, and compute them in batches of one size, so that there is one program."""
    batch = min(BATCH, len(files))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(files), batch):
            part = list(threads.map(lambda file: _opened(predictor.view, file), files[start : start + batch]))
            images = [one.image for one in part if one.image is not None]
            filled = np.zeros((batch, *predictor.view.shape), np.uint8)
            filled[: len(images)] = list(threads.map(lambda image: _seen(predictor.view, image), images)) or filled[:0]
            answers, rows = predictor.answer(filled) if images else None, itertools.count()
            for one in part:
                if one.error:
                    yield one
                    continue
                row = next(rows)
                answer = jax.tree.map(lambda leaf, row=row: leaf[row], answers)
                match predictor.task:
                    case "classification":
                        yield _named(one, softmax(answer[None])[0], predictor.class_names, top)
                    case "detection":
                        yield _found(one, answer, predictor, score)
                    case "segmentation":
                        yield _divided(one, answer, predictor.class_names, top)


def _seen(view: View, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Return a picture of `_opened` as the network sees it."""
    return view.scaled(image) if view.whole else image


def _opened(view: View, picture: Path | bytes) -> Prediction:
    """Read a picture, the whole one if the network looks at all of it."""
    file = picture if isinstance(picture, Path) else Path()
    try:
        encoded = picture.read_bytes() if isinstance(picture, Path) else picture
        return Prediction(file, image=decode(encoded, view.shape[-1]) if view.whole else view.of(encoded))
    except OSError as error:
        return Prediction(file, error=error.strerror or str(error))
    except Unreadable as error:
        return Prediction(file, error=str(error))


def _named(one: Prediction, row: Float[np.ndarray, " k"], names: Sequence[str], top: int) -> Prediction:
    """Return a prediction with its most probable classes."""
    best = np.argsort(-row, kind="stable")[:top]
    return dataclasses.replace(one, classes=tuple(names[i] for i in best), probabilities=tuple(row[best].tolist()))


def _found(one: Prediction, answer: Detections, predictor: Predictor, score: float) -> Prediction:
    """Return a prediction with its objects, their boxes in pixels of the picture."""
    assert one.image is not None
    (height, width), (high, wide) = one.image.shape[:2], predictor.view.shape[:2]
    there = answer.valid & (answer.scores >= score)
    boxes = answer.boxes[there] * np.array([width / wide, height / high] * 2)
    labels, names = answer.labels[there] - 1, predictor.class_names
    rows = zip(labels.tolist(), answer.scores[there].tolist(), boxes.tolist(), strict=True)
    objects = tuple(Object(label, names[label], sure, tuple(box)) for label, sure, box in rows)
    return dataclasses.replace(one, objects=objects)


def _divided(one: Prediction, answer: UInt8[np.ndarray, "h w"], names: Sequence[str], top: int) -> Prediction:
    """Return a prediction with its mask, in pixels of the picture, and the largest of its regions."""
    assert one.image is not None
    height, width = one.image.shape[:2]
    mask = np.asarray(Image.fromarray(answer).resize((width, height), Image.Resampling.NEAREST))
    return divided(one, mask, names, top)


def divided(one: Prediction, mask: UInt8[np.ndarray, "h w"], names: Sequence[str], top: int) -> Prediction:
    """Return a prediction with a mask, and the largest of its regions.

    Args:
        one: the prediction.
        mask: the class of each pixel.
        names: names of all classes.
        top: number of regions to name.
    """
    shares = np.bincount(mask.ravel(), minlength=len(names)) / mask.size
    found = _named(one, shares, names, min(top, int(np.count_nonzero(shares))))
    return dataclasses.replace(found, mask=mask)
