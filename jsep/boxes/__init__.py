"""Boxes: what detectors do with them besides layers, as pure functions on static shapes.

A box is (x1, y1, x2, y2) in pixels of the network's input. Pictures have different numbers of objects, so arrays of
them are padded and come with a mask: see `Objects` for what is known of pictures, `Detections` for what was found.
"""

from jsep.boxes.anchors import default_boxes, grid_anchors
from jsep.boxes.coder import decode, encode
from jsep.boxes.geometry import area, clip, generalized_iou, iou
from jsep.boxes.losses import Losses, Objects, focal, hard_negatives, retinanet_loss, smooth_l1, ssd_loss
from jsep.boxes.matching import BACKGROUND, IGNORED, match, match_ssd
from jsep.boxes.select import Detections, select_by_class, select_by_level
from jsep.boxes.suppression import nms

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "Detections",
    "Losses",
    "Objects",
    "area",
    "clip",
    "decode",
    "default_boxes",
    "encode",
    "focal",
    "generalized_iou",
    "grid_anchors",
    "hard_negatives",
    "iou",
    "match",
    "match_ssd",
    "nms",
    "retinanet_loss",
    "select_by_class",
    "select_by_level",
    "smooth_l1",
    "ssd_loss",
]
