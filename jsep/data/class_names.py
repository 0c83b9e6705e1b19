"""The names of ImageNet's, COCO's and VOC's classes, and names for the classes of a network where there are none."""

import functools
import importlib.resources
import re
from collections.abc import Sequence

_WORDNET = re.compile(r"n\d{8}")  # what TFDS and ImageNet's folders call a class
# the 80 classes of COCO by its numbers from 1 to 90, ten of which it does not use
_COCO = """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,,backpack,umbrella,,,handbag,tie,suitcase,
frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,,
wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,
potted plant,bed,,dining table,,,toilet,,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,
refrigerator,,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"""
_VOC = """aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,pottedplant,
sheep,sofa,train,tvmonitor"""


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ILSVRC 2012 in the order of their labels, that of the WordNet numbers.

    >>> imagenet_classes()[:2]
    ('tench', 'goldfish')
    """
    text = importlib.resources.files("jsep.data").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def readable_names(names: Sequence[str], classes: int, task: str = "classification") -> tuple[str, ...]:
    """Return the names to show for the classes of a network.

    Where they are unknown, or are WordNet numbers, a classifier of 1,000 classes is taken for one of ImageNet's. Where
    they are unknown, a detector of 80 or 90 classes is taken for one of COCO's, by the order or by the numbers of its
    classes; a detector of 20, and a segmenter of 21 with the background, for one of Pascal VOC's.

    >>> readable_names((), 2), readable_names(("cat", "dog"), 2), readable_names((), 80, "detection")[79]
    (('class 0', 'class 1'), ('cat', 'dog'), 'toothbrush')

    Args:
        names: the names of the classes; empty if they are unknown.
        classes: number of classes, of a detector without the background.
        task: what the network does.
    """
    numbered, voc = tuple(_COCO.replace("\n", "").split(",")), tuple(_VOC.replace("\n", "").split(","))
    known = {
        ("classification", 1000): imagenet_classes,
        ("detection", 80): lambda: tuple(filter(None, numbered)),
        ("detection", 90): lambda: tuple(name or f"class {i}" for i, name in enumerate(numbered)),
        ("detection", 20): lambda: voc,
        ("segmentation", 21): lambda: ("background", *voc),
    }
    if (task, classes) in known and all(map(_WORDNET.fullmatch, names)):
        return known[task, classes]()
    return tuple(names) or tuple(f"class {i}" for i in range(classes))
