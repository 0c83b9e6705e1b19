"""Data sets in memory or as streams, and what is done to images on the device."""

from jsep.data.augment import Augmentation, augment, augment_with, mix, normalize
from jsep.data.catalog import IMAGENET_MEAN, IMAGENET_STD, Dataset, Split, load, load_choice
from jsep.data.choice import Data
from jsep.data.feed import Feed, ResidentFeed, StreamFeed, make_feed
from jsep.data.sources import CATALOG

__all__ = [
    "CATALOG",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "Data",
    "Dataset",
    "Feed",
    "ResidentFeed",
    "Split",
    "StreamFeed",
    "augment",
    "augment_with",
    "load",
    "load_choice",
    "make_feed",
    "mix",
    "normalize",
]
