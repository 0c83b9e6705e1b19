"""Data sets as arrays or streams, and what is done to images on the device."""

from jsep.data.augment import augment, mix, normalize
from jsep.data.catalog import CATALOG, IMAGENET_MEAN, IMAGENET_STD, Dataset, Split, load
from jsep.data.feed import Feed, ResidentFeed, StreamFeed, make_feed

__all__ = [
    "CATALOG",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Dataset",
    "Feed",
    "ResidentFeed",
    "Split",
    "StreamFeed",
    "augment",
    "load",
    "make_feed",
    "mix",
    "normalize",
]
