"""Wrong boxes, masks, lists and files: one sentence each that names the place and the remedy; no file is touched."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import annotated_sets as sets
import numpy as np
import pytest
from PIL import Image
from test_objects import part

from conftest import picture
from jsep.data import load, make_feed
from jsep.errors import UserError

NAN, INF = float("nan"), float("inf")
NUMBERS, INVERTED = "not made of numbers|bbox", "comes before the other one"
Box = tuple[float, ...]


def spoiled(value: float, side: int) -> Box:
    """A box with a value in the place of a side."""
    return tuple(value if side == i else right for i, right in enumerate((1, 2, 9, 9)))


BOXES: dict[str, tuple[Box, str]] = {
    **{f"{value} {i}": (spoiled(value, i), NUMBERS) for value in (NAN, INF, -INF) for i in range(4)},
    "inverted x": ((9, 2, 1, 8), INVERTED),
    "inverted y": ((1, 8, 9, 2), INVERTED),
    "inverted both": ((9, 8, 1, 2), INVERTED),
    "no width": ((4, 2, 4, 8), "which has no extent"),
    "no height": ((4, 8, 9, 8), "which has no extent"),
    "a hair's breadth": ((4, 2, 4.0001, 8), "which has no extent"),
    "a point": ((4, 4, 4, 4), "which has no extent"),
    "nothing": ((0, 0, 0, 0), "which has no extent"),
    "left of it": ((-9, 2, -1, 8), "which lies outside the picture"),
    "right of it": ((33, 2, 40, 8), "which lies outside the picture"),
    "above it": ((2, -9, 8, -1), "which lies outside the picture"),
    "below it": ((2, 25, 8, 30), "which lies outside the picture"),
    "too far left": ((-3, 2, 8, 8), "which lies outside the picture"),
    "too far right": ((2, 2, 34, 8), "which lies outside the picture"),
    "too far up": ((2, -3, 8, 8), "which lies outside the picture"),
    "too far down": ((2, 2, 8, 26), "which lies outside the picture"),
    "in other units": ((200, 200, 900, 800), "which lies outside the picture"),
    "on the edge": ((32, 2, 33, 8), "which lies outside the picture"),
}


def refused(do: Callable[[], Any], sentence: str, root: Path | None = None) -> None:
    """Check that something is refused in one sentence with a remedy, and that no file is touched."""

    def state() -> dict[str, str]:
        files = sorted(root.rglob("*")) if root else []
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}

    before = state()
    with pytest.raises(UserError, match=sentence) as error:
        do()
    message = str(error.value)
    assert "\n" not in message
    assert not message.endswith(".")
    assert ": " in message
    assert len(message.replace(str(root), "")) < 400
    assert state() == before


def opened(root: Path, task: str = "detection", **choice: Any) -> Any:
    """Open a set, and read all of its pictures."""
    data = load(str(root), image_size=16, task=task, **choice)
    return [list(make_feed(one, data).evaluation(4)) for one in (data.train, data.test)]


@pytest.mark.parametrize("case", BOXES)
def test_boxes_of_tfds(case):
    (left, top, right, bottom), sentence = BOXES[case]
    records = sets.records()
    sides = np.array((sets.HEIGHT, sets.WIDTH) * 2, np.float32)
    records[3]["objects"]["bbox"][2] = np.array((top, left, bottom, right), np.float32) / sides
    refused(lambda: part(records).labels(), f"^Record 3 of split 'train' of sets has .*({sentence})")


@pytest.mark.parametrize("case", BOXES)
def test_boxes_of_coco(case, tmp_path):
    (left, top, right, bottom), sentence = BOXES[case]
    content = sets.instances("train")
    content["annotations"][3]["bbox"] = [left, top, right - left, bottom - top]
    file = sets.coco(tmp_path) / "annotations" / "instances_train2017.json"
    file.write_text(json.dumps(content))
    refused(lambda: opened(tmp_path), f"(4.png|annotation 13) in .*_train2017.json has the .*({sentence})", tmp_path)


@pytest.mark.parametrize("case", BOXES)
def test_boxes_of_voc(case, tmp_path):
    box, sentence = BOXES[case]
    sets.write(sets.voc(tmp_path) / "Annotations" / "4.xml", sets.xml([(1, 1, 3, 3, "dog"), (*box, "cat")]))
    refused(lambda: opened(tmp_path), f"4.png in .*Annotations has .*({sentence})", tmp_path)


def crowd_of(number: int) -> dict[str, Any]:
    return {
        "bbox": list(np.tile(np.array([0.1, 0.1, 0.5, 0.5], np.float32), (number, 1))),
        "label": [0] * number,
    }


OBJECTS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "a class beyond": ({"label": [0, 2]}, "has the class 2, where classes are from 0 to 1: correct it"),
    "a class below": ({"label": [-1, 0]}, "has the class -1, where"),
    "an identifier": ({"label": [0, 10**9]}, "has the class 1000000000, where"),
    "a label too few": ({"label": [0]}, "has 2 boxes, and another number of label"),
    "a label too many": ({"label": [0, 1, 1]}, "has 2 boxes, and another number of label"),
    "no labels": ({"label": []}, "has 2 boxes, and another number of label"),
    "no boxes": ({"bbox": []}, "has 0 boxes, and another number of label"),
    "a crowd too few": ({"is_crowd": [False]}, "another number of is_crowd"),
    "a difficult too many": ({"is_difficult": [False] * 3}, "another number of is_difficult"),
    "an area too few": ({"area": [1]}, "another number of area"),
    "an area of nothing": ({"area": [NAN, 1]}, "has the area nan, which is no number from 0"),
    "an area below 0": ({"area": [4, -1]}, "has the area -1, which is no number from 0"),
    "an infinite area": ({"area": [INF, 1]}, "has the area inf, which is no number from 0"),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_of_tfds(case):
    change, sentence = OBJECTS[case]
    records = sets.records()
    records[0]["objects"] |= change
    refused(lambda: part(records)[0], f"^Record 0 of split 'train' of sets .*{sentence}")
    assert part(records)[1]["objects"]["labels"].tolist() == [1]


def test_a_record_without_a_picture():
    records = sets.records()
    records[1]["image"] = None
    refused(lambda: part(records).labels(), "Record 1 of .* has no image: leave it out")


Change = Callable[[dict[str, Any]], Any]


def first(name: str, /, **values: Any) -> Change:
    """Change the first entry of a list."""
    return lambda content: content[name][0].update(values)


def without(name: str, key: str) -> Change:
    return lambda content: content[name][0].pop(key)


def instead(name: str, value: Any) -> Change:
    return lambda content: content.update({name: value})


LISTS = ("images", "annotations", "categories")
CONTENT: dict[str, tuple[Change, str]] = {
    **{f"no {name}": (lambda c, name=name: c.pop(name), f"has no list of {name} ") for name in LISTS},
    **{f"{name} is a number": (instead(name, 3), f"has no list of {name} ") for name in LISTS},
    **{f"{name} is an object": (instead(name, {"a": 1}), f"has no list of {name} ") for name in LISTS},
    **{f"{name} is null": (instead(name, None), f"has no list of {name} ") for name in LISTS},
    **{f"{name} of numbers": (instead(name, [1, 2]), "number 0 in .* has no .* as in COCO") for name in LISTS},
    **{f"{name} of nulls": (instead(name, [None]), "number 0 in .* has no .* as in COCO") for name in LISTS},
    "images are empty": (instead("images", []), "has no list of images"),
    "categories are empty": (instead("categories", []), "has no list of categories"),
    "an image without id": (without("images", "id"), "image number 0 in .* has no id"),
    "an image without file": (without("images", "file_name"), "image number 0 in .* has no file_name"),
    "an image with a file of another kind": (first("images", file_name=7), "image number 0 in .* has no file_name"),
    "an image with a list for an id": (first("images", id=[1]), "image number 0 in .* has no id"),
    "an image with a fraction for an id": (first("images", id=1.5), "image number 0 in .* has no id"),
    "an image with true for an id": (first("images", id=True), "image number 0 in .* has no id"),
    "an id twice": (first("images", id=2), "has the image 2 twice: leave one"),
    "a file twice": (first("images", file_name="2.png"), "has the file_name of an image '2.png' twice"),
    "a missing picture": (first("images", file_name="9.png"), "9.png of .* is not in .*train2017: put the pictures"),
    "a path out of the folder": (first("images", file_name="../1.png"), "1.png of .* is not in .*train2017"),
    "a height below 0": (first("images", height=-1), "is 32x-1: give whole numbers"),
    "a width of words": (first("images", width="wide"), "is widex24: give whole numbers"),
    "a fraction of a height": (first("images", height=24.5), "is 32x24.5: give whole numbers"),
    "an endless height": (first("images", height=10**30), "is 32x10+: give whole numbers"),
    "another height": (first("images", height=100), "1.png is 32x24 as a viewer shows it, and .* says 32x100"),
    "sides exchanged": (first("images", height=32, width=24), "outside the picture|1.png is 32x24 .* says 24x32"),
    "a category without id": (without("categories", "id"), "category number 0 in .* has no id"),
    "a category without name": (without("categories", "name"), "category number 0 in .* has no name"),
    "a category of a number": (first("categories", name=5), "category number 0 in .* has no name"),
    "a category id of words": (first("categories", id="1"), "category number 0 in .* has no id"),
    "a category twice": (first("categories", id=3), "has the category 3 twice"),
    "a name twice": (first("categories", name="dog"), "has the name of a category 'dog' twice"),
    "other categories": (first("categories", name="cow"), "has other categories than .*train2017.json: give both"),
    "an annotation without image": (without("annotations", "image_id"), "annotation number 0 in .* has no image_id"),
    "an annotation without class": (without("annotations", "category_id"), "number 0 in .* has no category_id"),
    "an annotation without box": (without("annotations", "bbox"), "annotation number 0 in .* has no bbox"),
    "a box of words": (first("annotations", bbox="1 2 3 4"), "annotation number 0 in .* has no bbox"),
    "a box of null": (first("annotations", bbox=None), "annotation number 0 in .* has no bbox"),
    "a box of three": (first("annotations", bbox=[1, 2, 3]), r"annotation 10 in .* has the bbox \[1, 2, 3\]: give x"),
    "a box of five": (first("annotations", bbox=[1, 2, 3, 4, 5]), "annotation 10 in .* has the bbox"),
    "an empty box": (first("annotations", bbox=[]), r"annotation 10 in .* has the bbox \[\]: give x"),
    "a box with a word": (first("annotations", bbox=[1, 2, 3, "4"]), "annotation 10 in .* has the bbox"),
    "a box with null": (first("annotations", bbox=[1, 2, None, 4]), "annotation 10 in .* has the bbox"),
    "a box of lists": (first("annotations", bbox=[[1], 2, 3, 4]), "annotation 10 in .* has the bbox"),
    "an endless box": (first("annotations", bbox=[1, 2, 10**400, 4]), "annotation 10 in .* has the bbox"),
    "an unknown image": (first("annotations", image_id=99), "annotation 10 in .* has the image_id 99, which is not"),
    "an image id of words": (first("annotations", image_id="1"), "has the image_id '1', which is not there"),
    "a class beyond": (first("annotations", category_id=2), "annotation 10 in .* has the category_id 2, which is not"),
    "a class below": (first("annotations", category_id=-1), "has the category_id -1, which is not there"),
    "a crowd of many": (first("annotations", iscrowd=2), "annotation 10 in .* has the iscrowd 2: give 0 or 1"),
    "a crowd of words": (first("annotations", iscrowd="no"), "has the iscrowd 'no': give 0 or 1"),
    "an area of words": (first("annotations", area="big"), "annotation 10 in .* has the area 'big': give a number"),
    "an area of nothing": (first("annotations", area=NAN), "has the area nan: give a number"),
    "an area below 0": (first("annotations", area=-4), "has the area -4, which is no number from 0"),
    "an annotation twice": (first("annotations", id=11), "has the annotation 11 twice: leave one"),
}


@pytest.mark.parametrize("case", CONTENT)
def test_the_content_of_coco(case, tmp_path):
    change, sentence = CONTENT[case]
    content = sets.instances("train")
    change(content)
    (sets.coco(tmp_path) / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    refused(lambda: opened(tmp_path), sentence, tmp_path)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


TRAIN = "annotations/instances_train2017.json"
FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut in half": (lambda r: halved(r / TRAIN), "train2017.json is no JSON .*: copy or export it again"),
    "empty": (lambda r: (r / TRAIN).write_text(""), "train2017.json is no JSON"),
    "no JSON": (lambda r: (r / TRAIN).write_text("<xml/>"), "train2017.json is no JSON"),
    "other bytes": (lambda r: (r / TRAIN).write_bytes(b"\xff\xfe\x00\x01{"), "train2017.json is no JSON"),
    "a list": (lambda r: (r / TRAIN).write_text("[]"), "has no list of categories"),
    "a number": (lambda r: (r / TRAIN).write_text("3"), "has no list of categories"),
    "null": (lambda r: (r / TRAIN).write_text("null"), "has no list of categories"),
    "nested without end": (lambda r: (r / TRAIN).write_text("[" * 200_000), "train2017.json is no JSON"),
    "a folder": (lambda r: ((r / TRAIN).unlink(), (r / TRAIN).mkdir()), "train2017.json cannot be read"),
    "no pictures": (lambda r: shutil.rmtree(r / "train2017"), "1.png and 3 others of .* are not in"),
    "a picture less": (lambda r: (r / "train2017" / "3.png").unlink(), "3.png of .* is not in .*: put the pictures"),
    "half a picture": (lambda r: halved(r / "train2017" / "3.png"), "3.png cannot be decoded"),
    "an empty picture": (lambda r: (r / "train2017" / "3.png").write_bytes(b""), r"3.png cannot be decoded \(it is em"),
    "a text for a picture": (lambda r: (r / "train2017" / "3.png").write_text("?"), "3.png cannot be decoded"),
    "another picture": (
        lambda r: (r / "train2017" / "3.png").write_bytes(picture(np.zeros((9, 9, 3), np.uint8), "PNG")),
        "3.png is 9x9 as a viewer shows it, and .* says 32x24, so its boxes are for another picture",
    ),
    "no file to train on": (lambda r: (r / TRAIN).unlink(), "`train_split`=train: .* has no such part; it has val"),
}


@pytest.mark.parametrize("case", FILES)
def test_the_files_of_coco(case, tmp_path):
    change, sentence = FILES[case]
    change(sets.coco(tmp_path))
    refused(lambda: opened(tmp_path), sentence, tmp_path)


def test_a_hundred_thousand_objects(tmp_path):
    content = sets.instances("train")
    one = content["annotations"][0]
    content["annotations"] = [one | {"id": number} for number in range(100_000)]
    (sets.coco(tmp_path) / TRAIN).write_text(json.dumps(content))
    refused(lambda: opened(tmp_path), "A picture has 100,000 objects, .*`max_objects`=100000", tmp_path)
    refused(lambda: opened(tmp_path, max_objects=64), "`max_objects`=64: a picture has 100,000 objects", tmp_path)
    records = sets.records()
    records[1]["objects"] = crowd_of(100_000)
    assert len(part(records).labels()[1]) == 100_000


def test_no_objects_at_all(tmp_path):
    sets.coco(tmp_path)
    for name in ("train", "val"):
        content = sets.instances(name) | {"annotations": []}
        (tmp_path / "annotations" / f"instances_{name}2017.json").write_text(json.dumps(content))
    refused(lambda: opened(tmp_path), "No picture of the data set has an object: choose other parts", tmp_path)


def changed(before: str, after: str, file: str = "Annotations/4.xml") -> Callable[[Path], Any]:
    """Change the first of some words in a file."""

    def change(root: Path) -> None:
        text = (root / file).read_text()
        assert before in text
        (root / file).write_text(text.replace(before, after, 1))

    return change


LIST = "ImageSets/Main/train.txt"
XML: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut in half": (lambda r: halved(r / "Annotations" / "4.xml"), "4.xml is no whole XML .*: copy or export it"),
    "empty": (lambda r: (r / "Annotations" / "4.xml").write_text(""), "4.xml is no whole XML"),
    "no XML": (lambda r: (r / "Annotations" / "4.xml").write_text("{}"), "4.xml is no whole XML"),
    "other bytes": (lambda r: (r / "Annotations" / "4.xml").write_bytes(b"\x00\xff" * 9), "4.xml is no whole XML"),
    "an unknown encoding": (
        lambda r: (r / "Annotations" / "4.xml").write_text('<?xml version="1.0" encoding="none"?><a/>'),
        "4.xml is no whole XML",
    ),
    "a folder": (
        lambda r: ((r / "Annotations" / "4.xml").unlink(), (r / "Annotations" / "4.xml").mkdir()),
        "4 in the part 'train' of .* has not an XML in",
    ),
    "missing": (lambda r: (r / "Annotations" / "4.xml").unlink(), "4 in the part 'train' of .* has not an XML in"),
    "no name": (changed("<name>cat</name>", ""), "object number 0 in .*4.xml has no name: add it"),
    "an empty name": (changed("<name>cat</name>", "<name> </name>"), "object number 0 in .*4.xml has no name"),
    "no side": (changed("<xmin>5</xmin>", ""), "object number 0 in .*4.xml has no box of numbers"),
    "an empty side": (changed("<ymax>9</ymax>", "<ymax/>"), "object number 0 in .*4.xml has no box of numbers"),
    "a side of words": (changed("<xmax>9<", "<xmax>nine<"), "object number 0 in .*4.xml has no box of numbers"),
    "no box": (changed("bndbox><xmin>5", "polygon><xmin>5"), "4.xml is no whole XML"),
    "another box": (
        lambda r: (r / "Annotations" / "4.xml").write_text("<a><object><name>cat</name><polygon/></object></a>"),
        "object number 0 in .*4.xml has no box of numbers",
    ),
    "a width of words": (changed("<width>32<", "<width>wide<"), "4.xml has the size/width 'wide': give a whole"),
    "a width below 0": (changed("<width>32<", "<width>-32<"), "4.xml has the size/width '-32': give a whole"),
    "a fraction of a height": (changed("<height>24<", "<height>24.5<"), "4.xml has the size/height '24.5'"),
    "an endless height": (changed("<height>24<", f"<height>{10**30}<"), "4.xml has the size/height '10+'"),
    "another width": (changed("<width>32<", "<width>64<"), "4.png is 32x24 as a viewer shows it, and .* says 64x24"),
    "an id twice": (changed("4\n", "4\n4\n", LIST), "train.txt lists 4 twice: leave one of the lines"),
    "an unknown id": (changed("4\n", "4\n9\n", LIST), "9 in the part 'train' of .* has not an XML in .*: add it"),
    "two unknown ids": (changed("4\n", "8\n9\n", LIST), "8 in the part .* has not an XML in .*, nor have 1 other"),
    "an empty list": (lambda r: (r / LIST).write_text("\n"), "The part 'train' of .* has no pictures: add some"),
    "no picture": (lambda r: (r / "JPEGImages" / "4.png").unlink(), "4 in the part .* has not a picture in"),
    "two pictures": (
        lambda r: shutil.copy(r / "JPEGImages" / "4.png", r / "JPEGImages" / "4.jpg"),
        "has both 4.jpg and 4.png: delete one of them",
    ),
    "no folder of pictures": (lambda r: shutil.rmtree(r / "JPEGImages"), "JPEGImages.* cannot be read"),
    "half a picture": (lambda r: halved(r / "JPEGImages" / "4.png"), "4.png cannot be decoded"),
    "a class to evaluate on alone": (
        changed("<name>cat", "<name>cow", "Annotations/6.xml"),
        "6.xml has the class cow, which no picture to train on has: correct it",
    ),
    "no objects to train on": (
        lambda r: [(r / "Annotations" / f"{i}.xml").write_text("<annotation/>") for i in range(1, 5)],
        "The part 'train' of .* has no objects: choose another `train_split`",
    ),
    "no list to train on": (lambda r: (r / LIST).unlink(), "`train_split`=train: .* has no such part; it has val"),
}


@pytest.mark.parametrize("case", XML)
def test_the_files_of_voc(case, tmp_path):
    change, sentence = XML[case]
    change(sets.voc(tmp_path))
    refused(lambda: opened(tmp_path), sentence, tmp_path)


def encoded(values: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


MASK, IMAGE = "masks/train/2.png", "images/train/2.png"
LIKE = sets.mask("2")


def put(content: bytes | str, name: str = MASK) -> Callable[[Path], Any]:
    return lambda root: sets.write(root / name, content)


def every(values: np.ndarray) -> Callable[[Path], Any]:
    """Give all pictures the same mask."""
    return lambda root: [file.write_bytes(encoded(values)) for file in root.glob("masks/*/*")]


MASKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another width": (put(encoded(LIKE[:, :-1])), "2.png is 32x24 as a viewer shows it, and its mask is 31x24: corr"),
    "another height": (put(encoded(LIKE[:-1])), "and its mask is 32x23: correct one of them"),
    "half the size": (put(encoded(LIKE[::2, ::2])), "and its mask is 16x12"),
    "turned": (put(encoded(LIKE.T.copy())), "and its mask is 24x32"),
    "cut in half": (lambda r: halved(r / MASK), "The mask of the picture in .*2.png cannot be used"),
    "empty": (put(b""), r"The mask of .*2.png cannot be used \(it is empty\)"),
    "a text": (put("0 0 1 1"), "The mask of .*2.png cannot be used .*: save it as a PNG"),
    "in colours": (put(encoded(sets.pixels("2"))), "cannot be used .its pixels are colours or fractions"),
    "with transparency": (put(encoded(np.zeros((24, 32, 4), np.uint8))), "its pixels are colours or fractions"),
    "of fractions": (put(encoded(np.zeros((24, 32), np.float32), "TIFF")), "its pixels are colours or fractions"),
    "missing": (lambda r: (r / MASK).unlink(), "train/2 in the part 'train' of .* has not a mask in .*: add it"),
    "several missing": (
        lambda r: [file.unlink() for file in (r / "masks" / "train").iterdir()],
        "has not a mask in .*, nor have 3 others: add it",
    ),
    "two of them": (put(encoded(LIKE, "BMP"), "masks/train/2.bmp"), "has both train/2.bmp and train/2.png: delete"),
    "two pictures": (put(b"", "images/train/2.jpg"), "has both train/2.jpg and train/2.png: delete one of them"),
    "no pictures": (lambda r: shutil.rmtree(r / "images"), "has masks/ and no images/: put the pictures there"),
    "half a picture": (lambda r: halved(r / IMAGE), "2.png cannot be decoded"),
    "an empty picture": (put(b"", IMAGE), r"2.png cannot be decoded \(it is empty\)"),
    "no pictures to train on": (
        lambda r: shutil.rmtree(r / "images" / "train"),
        "`train_split`=train: .* has no such part; it has val",
    ),
    "an empty part": (
        lambda r: [file.unlink() for file in (r / "images" / "train").iterdir()],
        "The part 'train' of .* has no pictures: add some",
    ),
    "a single class": (every(np.zeros((24, 32), np.uint8)), "have no class but 0: number the classes from 0"),
    "black and 255": (every(np.where(LIKE > 1, 255, 0).astype(np.uint8)), "have no class but 0: number the classes"),
    "nothing but 255": (every(np.full((24, 32), 255, np.uint8)), "have no class but 0: number the classes from 0"),
    "a single name": (put("sky\n", "classes.txt"), "classes.txt has 1 names: give from 2 to 255, one a line"),
    "no names": (put("\n\n", "classes.txt"), "classes.txt has 0 names: give from 2 to 255"),
    "too many names": (put("\n".join(map(str, range(300))), "classes.txt"), "classes.txt has 300 names"),
    "a name twice": (put("sky\nroad\nsky\n", "classes.txt"), "classes.txt has sky twice: give each class its own"),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks(case, tmp_path):
    change, sentence = MASKS[case]
    change(sets.masks(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # of masks without pictures
        refused(lambda: opened(tmp_path, "segmentation"), sentence, tmp_path)


@pytest.mark.parametrize(
    ("layout", "task", "choice", "sentence"),
    [
        (sets.coco, "segmentation", {}, "holds no data set for segmentation: give a folder with masks/"),
        (sets.masks, "detection", {}, "holds no data set for detection: give a folder with annotations/"),
        (sets.coco, "detection", {"train_split": "other"}, "`train_split`=other: .* has no such part"),
        (sets.voc, "detection", {"eval_split": "test"}, "`eval_split`=test: .* has no such part; it has train, val"),
        (sets.masks, "segmentation", {"eval_split": "test"}, "`eval_split`=test: .* has no such part"),
        (sets.masks, "segmentation", {"void": 1}, "`void`=1: it must be from 2 to 255"),
        (sets.masks, "segmentation", {"void": 256}, "`void`=256: it must be from 2 to 255"),
        (
            sets.coco,
            "detection",
            {"void": 11},
            "`void`=11: it is for segmentation, and this is detection: leave it out",
        ),
        (sets.masks, "segmentation", {"max_objects": 8}, "`max_objects`=8: it is for detection, and this is segment"),
        (sets.masks, "classification", {"void": 11}, "`void`=11: it is for segmentation, and this is classification"),
        (sets.coco, "detection", {"max_objects": -1}, "`max_objects`=-1: it must be at least 0"),
        (sets.coco, "detection", {"max_objects": 1}, "`max_objects`=1: a picture has 3 objects"),
    ],
)
def test_choices(layout, task, choice, sentence, tmp_path):
    root = layout(tmp_path)
    refused(lambda: opened(root, task, **choice), sentence, tmp_path)


def test_a_part_of_a_set_for_classification_is_none_for_detection(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"):
        sets.write(tmp_path / name, picture(sets.pixels(name), "PNG"))
    for task in ("detection", "segmentation"):
        refused(lambda task=task: opened(tmp_path, task), f"holds no data set for {task}", tmp_path)
