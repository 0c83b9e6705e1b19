"""The names of ImageNet's classes, and names for the classes of a network where there are none."""

import functools
import importlib.resources
import re
from collections.abc import Sequence

_WORDNET = re.compile(r"n\d{8}")  # what TFDS and ImageNet's folders call a class


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ILSVRC 2012 in the order of their labels, that of the WordNet numbers.

    >>> imagenet_classes()[:2]
    ('tench', 'goldfish')
    """
    text = importlib.resources.files("jsep.data").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def readable_names(names: Sequence[str], classes: int) -> tuple[str, ...]:
    """Return the names to show for the classes of a network.

    Where they are unknown, or are WordNet numbers, a network of 1,000 classes is taken for one of ImageNet's.

    >>> readable_names((), 2), readable_names(("cat", "dog"), 2)
    (('class 0', 'class 1'), ('cat', 'dog'))

    Args:
        names: the names of the classes; empty if they are unknown.
        classes: number of classes.
    """
    if classes == len(imagenet_classes()) and all(map(_WORDNET.fullmatch, names)):
        return imagenet_classes()
    return tuple(names) or tuple(f"class {i}" for i in range(classes))
