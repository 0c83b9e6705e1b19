"""Small folders of pictures with boxes or masks, as tests write them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conftest import picture

HEIGHT, WIDTH = 24, 32
NAMES = ("cat", "dog")
Box = tuple[float, float, float, float, str]  # corners in pixels, and the class
BOXES: Mapping[str, Mapping[str, Sequence[Box]]] = {  # of each picture in each part
    "train": {
        "1": [(2, 3, 12, 13, "cat"), (10, 8, 30, 20, "dog")],
        "2": [(0, 0, 32, 24, "dog")],
        "3": [],
        "4": [(5, 5, 9, 9, "cat"), (6, 6, 10, 12, "cat"), (20, 1, 31, 23, "dog")],
    },
    "val": {"5": [(1, 2, 3, 4, "dog")], "6": [(4, 4, 20, 20, "cat")]},
}


def pixels(name: str) -> np.ndarray:
    """Pixels that follow from a name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def instances(part: str) -> dict[str, Any]:
    """A part of `BOXES` as COCO describes it; categories have gaps, as COCO's have."""
    annotations = [
        {
            "image_id": int(name),
            "category_id": 1 + 2 * NAMES.index(label),
            "bbox": [left, top, right - left, bottom - top],
            "area": (right - left) * (bottom - top),
            "iscrowd": 0,
        }
        for name, boxes in BOXES[part].items()
        for left, top, right, bottom, label in boxes
    ]
    return {
        "images": [
            {"id": int(name), "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH} for name in BOXES[part]
        ],
        "annotations": [{"id": 10 + number, **one} for number, one in enumerate(annotations)],
        "categories": [{"id": 1 + 2 * number, "name": name} for number, name in enumerate(NAMES)],
    }


def coco(root: Path) -> Path:
    """Write `BOXES` in COCO's layout."""
    for part, boxes in BOXES.items():
        write(root / "annotations" / f"instances_{part}2017.json", json.dumps(instances(part)))
        for name in boxes:
            write(root / f"{part}2017" / f"{name}.png", picture(pixels(name), "PNG"))
    return root


def xml(boxes: Sequence[Sequence[Any]]) -> str:
    """A picture of `BOXES` as VOC describes it."""
    objects = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for left, top, right, bottom, label in boxes
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


def voc(root: Path) -> Path:
    """Write `BOXES` in VOC's layout."""
    for part, boxes in BOXES.items():
        write(root / "ImageSets" / "Main" / f"{part}.txt", "".join(f"{name}\n" for name in boxes))
        for name, some in boxes.items():
            write(root / "Annotations" / f"{name}.xml", xml(some))
            write(root / "JPEGImages" / f"{name}.png", picture(pixels(name), "PNG"))
    return root


def mask(name: str) -> np.ndarray:
    """Classes of the pixels of a picture: 0 to 3, and 255 in a corner."""
    values = pixels(name)[..., 0] // 64
    values[:4, :4] = 255
    return values


def masks(root: Path) -> Path:
    """Write the pictures of `BOXES` with masks beside them."""
    for part, boxes in BOXES.items():
        for name in boxes:
            write(root / "images" / part / f"{name}.png", picture(pixels(name), "PNG"))
            write(root / "masks" / part / f"{name}.png", picture(mask(name), "PNG"))
    return root


def records() -> list[dict[str, Any]]:
    """The training part of `BOXES` as TFDS reads it."""
    sides = np.array((HEIGHT, WIDTH, HEIGHT, WIDTH), np.float32)
    return [
        {
            "image": picture(pixels(name), "PNG"),
            "objects": {
                "bbox": [np.array((t, left, b, r), np.float32) / sides for left, t, r, b, _ in boxes],
                "label": [NAMES.index(label) for *_, label in boxes],
                "is_crowd": [False] * len(boxes),
            },
        }
        for name, boxes in BOXES["train"].items()
    ]
