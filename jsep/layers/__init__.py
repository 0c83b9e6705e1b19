"""Linen modules over `jsep.ops`, with the field's names and PyTorch's padding by default."""

from jsep.layers.attention import SqueezeExcite
from jsep.layers.conv import Conv, DepthwiseConv, PointwiseConv, SeparableConv
from jsep.layers.initializers import keras_glorot_depthwise
from jsep.layers.norm import BatchNorm
from jsep.layers.pool import AvgPool, GlobalAvgPool, MaxPool
from jsep.layers.regularization import Dropout

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Conv",
    "DepthwiseConv",
    "Dropout",
    "GlobalAvgPool",
    "MaxPool",
    "PointwiseConv",
    "SeparableConv",
    "SqueezeExcite",
    "keras_glorot_depthwise",
]
