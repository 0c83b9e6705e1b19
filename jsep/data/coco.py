"""COCO's layout: files instances_PART.json, in a folder or its annotations/, beside folders of pictures."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jsep.data.annotated import LONGEST, Annotated, Listing
from jsep.data.listing import few, reading, shown, walk
from jsep.errors import UserError, counted, first_line

PREFIX = "instances_"


def instance_files(root: Path) -> list[Path]:
    """Return the files that describe the parts of a set, in order."""
    return sorted(file for folder in (root, root / "annotations") for file in folder.glob(f"{PREFIX}*.json"))


def coco_listing(root: Path) -> Listing:
    """Read the files of a set in COCO's layout.

    Pictures of the part train2017 lie in train2017/, images/train2017/, images/ or the folder itself, whichever there
    is. The year may be left out where parts are named.

    Raises:
        UserError: a file is damaged or contradicts itself or another one, or a picture is missing.
    """
    files = {file.stem.removeprefix(PREFIX): file for file in instance_files(root)}
    short = [part.rstrip("0123456789") for part in files]
    parts, known, names = {}, {}, None
    for part, file in files.items():
        classes, found = _read(root, part, file)
        if names not in (None, classes):
            raise UserError(f"{file} has other categories than {next(iter(files.values()))}: give both the same ones")
        names = classes
        name = part.rstrip("0123456789")
        keys = {f"{part}/{one.path}": one for one in found}
        parts[name if name and short.count(name) == 1 else part] = {"": list(keys)}
        known |= keys
    return Listing(parts, lambda keys: [known[key] for key in keys], names)


def _read(root: Path, part: str, file: Path) -> tuple[tuple[str, ...], list[Annotated]]:
    """Return the names of the classes in a file, and its pictures."""
    with reading(file):
        content = file.read_bytes()
    try:
        held = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON ({first_line(error)}): copy or export it again") from error
    categories, images, annotations = (_list(held, name, file) for name in ("categories", "images", "annotations"))
    names = {one["id"]: one["name"] for one in _each(categories, "category", {"id": int, "name": str}, file)}
    _once((one["id"] for one in categories), "category", file)
    _once((one["name"] for one in categories), "name of a category", file)
    pictures = {one["id"]: one for one in _each(images, "image", {"id": int | str, "file_name": str}, file)}
    _once((one["id"] for one in images), "image", file)
    _once((one["file_name"] for one in images), "file_name of an image", file)
    held_by: dict[Any, list[Any]] = {key: [] for key in pictures}
    wanted = {"image_id": int | str, "category_id": int, "bbox": list}
    for one in _each(annotations, "annotation", wanted, file):
        where = f"The annotation {one.get('id', '')} in {file}".replace("  ", " ")
        for key, there in (("image_id", held_by), ("category_id", names)):
            if one[key] not in there:
                raise UserError(f"{where} has the {key} {one[key]!r}, which is not there: correct it, or delete it")
        if len(one["bbox"]) != 4 or not all(map(_is_number, one["bbox"])):
            raise UserError(f"{where} has the bbox {str(one['bbox'])[:80]}: give x, y, width and height in pixels")
        if one.get("iscrowd", 0) not in (0, 1):
            raise UserError(f"{where} has the iscrowd {one['iscrowd']!r}: give 0 or 1")
        if not _is_number(one.get("area", 0)):
            raise UserError(f"{where} has the area {one['area']!r}: give a number, or leave it out")
        held_by[one["image_id"]].append(one)
    _once((one["id"] for one in annotations if "id" in one), "annotation", file)
    folder = _pictures(root, part, [one["file_name"] for one in images], file)
    return tuple(names[key] for key in sorted(names)), [
        _annotated(f"{folder}{one['file_name']}", file, one, held_by[key], names) for key, one in pictures.items()
    ]


def _annotated(path: str, file: Path, image: Mapping[str, Any], held: list[Any], names: Mapping[int, str]) -> Annotated:
    size = image.get("height", 0), image.get("width", 0)
    if not all(isinstance(side, int) and 0 <= side <= LONGEST for side in size):
        raise UserError(f"{file} says that {shown(path)} is {size[1]}x{size[0]}: give whole numbers of pixels")
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (one["bbox"] for one in held)]
    areas = [one.get("area", one["bbox"][2] * one["bbox"][3]) for one in held]
    crowd = [bool(one.get("iscrowd", 0)) for one in held]
    return Annotated(path, file, size, boxes, [names[one["category_id"]] for one in held], crowd, areas)


def _pictures(root: Path, part: str, wanted: list[str], file: Path) -> str:
    """Return the folder of a part's pictures, as a prefix of paths below the set, after looking for all of them."""
    usual = [f"{part}/", f"images/{part}/", "images/", ""]
    prefix = next(prefix for prefix in usual if (root / prefix).is_dir())
    there = set(walk(root / prefix, ""))
    if missing := [name for name in wanted if name not in there]:
        more = f" and {counted(len(missing) - 1, 'other')}" if len(missing) > 1 else ""
        raise UserError(
            f"{shown(missing[0])}{more} of {file} {'are' if more else 'is'} not in {root / prefix}: put the pictures "
            f"there, or into {root / part}"
        )
    return prefix


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9  # which is False for NaN


def _list(held: Any, name: str, file: Path) -> list[Any]:
    found = held.get(name) if isinstance(held, dict) else None
    if not isinstance(found, list) or not (found or name == "annotations"):
        known = few(sorted(held)) if isinstance(held, dict) and held else "nothing of the kind"
        raise UserError(f"{file} has no list of {name} (it has {known}): export it as COCO's instances")
    return found


def _each(entries: list[Any], what: str, wanted: Mapping[str, Any], file: Path) -> list[Any]:
    """Return entries of a file after checking that they have values of the right kinds."""
    for number, one in enumerate(entries):
        for key, kind in wanted.items():
            if not isinstance(one, dict) or not isinstance(one.get(key), kind) or one.get(key) is True:
                raise UserError(f"The {what} number {number} in {file} has no {key} as in COCO: export it again")
    return entries


def _once(values: Iterable[Any], what: str, file: Path) -> None:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise UserError(f"{file} has the {what} {value!r} twice: leave one of them")
        seen.add(value)
