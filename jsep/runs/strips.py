"""Strips of pictures: the same few test pictures with what is in them, and with what each network finds in them."""

import json
import math
from pathlib import Path

import numpy as np

from jsep.data import Dataset, Split
from jsep.data.class_names import readable_names
from jsep.data.decode import decode
from jsep.data.masks import classes_only, decoded_mask
from jsep.data.records import spread
from jsep.files import make_folder, write_atomically, writing
from jsep.models.segmenter import IGNORED
from jsep.report.drawing import LEAST, save_picture
from jsep.report.figures import Picture
from jsep.runs.folder import RunFolder
from jsep.runs.predict import Object, Prediction, divided, open_predictor, predict

SHOWN = 3  # pictures of a strip
TOLD = 3  # regions that are named below a picture
_TOLD = "told.json"  # the words below the pictures of a strip, written last


def annotated_strip(dataset: Dataset, place: Path) -> list[Picture]:
    """Draw what is known to be in a few test pictures of a data set for detection or segmentation.

    Args:
        dataset: the data set, whose records are on disk.
        place: the folder of the files; made if it does not exist.
    """
    assert not isinstance(dataset.test, Split)
    names = _names(dataset)
    found = []
    for record in dataset.test.__getitems__(_shown(dataset)):
        one = Prediction(Path(), image=decode(record["image"], dataset.image_shape[-1]))
        if "objects" in record:
            rows = zip(record["objects"]["labels"].tolist(), record["objects"]["boxes"].tolist(), strict=True)
            objects = tuple(Object(label, names[label], math.nan, tuple(box)) for label, box in rows)
            found.append(Prediction(Path(), image=one.image, objects=objects))
        else:
            mask = classes_only(decoded_mask(record), len(names))
            unknown = np.where(mask == IGNORED, len(names), mask).astype(np.uint8)
            found.append(divided(one, unknown, (*names, "unlabelled"), TOLD))
    return _saved(found, (*names, "background"), "annotation", place)  # which is not drawn


def predicted_strip(text: str, folder: Path, dataset: Dataset, place: Path) -> list[Picture]:
    """Draw what the best checkpoint of a finished run finds in these pictures, unless that was done since it ended.

    Args:
        text: what the report calls the network.
        folder: the run folder.
        dataset: its data set, for detection or segmentation.
        place: the folder of the files; made if it does not exist.
    """
    assert not isinstance(dataset.test, Split)
    done, trained = place / _TOLD, RunFolder.open(folder).results_path
    if done.exists() and done.stat().st_mtime_ns >= trained.stat().st_mtime_ns:
        return _pictures(json.loads(done.read_text(encoding="utf-8")), text, place)
    records = dataset.test.__getitems__(_shown(dataset))
    predictor = open_predictor(folder)
    found = list(predict(predictor, [record["image"] for record in records], TOLD))
    return _saved(found, predictor.class_names, text, place)


def _shown(dataset: Dataset) -> list[int]:
    """Return which of the test pictures are shown: a few at equal distances."""
    return list(spread(len(dataset.test), SHOWN))


def _names(dataset: Dataset) -> tuple[str, ...]:
    return readable_names(dataset.class_names, len(dataset.class_names), dataset.task)


def _saved(found: list[Prediction], names: tuple[str, ...], text: str, place: Path) -> list[Picture]:
    """Save drawings of predictions, and the words below them."""
    make_folder(place)
    told = [one.told for one in found]
    with writing(place):
        for number, one in enumerate(found, start=1):
            save_picture(place / f"{number}.png", one.fitted(LEAST).drawn(names))
        write_atomically(place / _TOLD, json.dumps(told, ensure_ascii=False))
    return _pictures(told, text, place)


def _pictures(told: list[str], text: str, place: Path) -> list[Picture]:
    return [
        Picture(f"Test picture {number}, {text}: {words}", words, place / f"{number}.png")
        for number, words in enumerate(told, start=1)
    ]
