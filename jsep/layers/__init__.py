"""Linen modules over `jsep.ops`, with the field's names and PyTorch's padding by default."""

from jsep.layers.attention import SqueezeExcite
from jsep.layers.conv import Conv, DepthwiseConv, PointwiseConv, Separable, SeparableConv, dense_or_separable
from jsep.layers.head import classifier
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
    "Separable",
    "SeparableConv",
    "SqueezeExcite",
    "classifier",
    "dense_or_separable",
    "keras_glorot_depthwise",
]
