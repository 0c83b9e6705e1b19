"""Linen modules over `jsep.ops`, with the field's names and PyTorch's padding by default."""

from jsep.layers.activation import PReLU
from jsep.layers.attention import EfficientChannelAttention, SqueezeExcite, eca_kernel_size
from jsep.layers.conv import Conv, DepthwiseConv, PointwiseConv, Separable, SeparableConv, dense_or_separable
from jsep.layers.dice import DiCE
from jsep.layers.head import classifier
from jsep.layers.initializers import keras_glorot_depthwise
from jsep.layers.mixed import MixedDepthwiseConv, SplitPointwiseConv
from jsep.layers.norm import BatchNorm
from jsep.layers.pool import AvgPool, GlobalAvgPool, MaxPool
from jsep.layers.regularization import Dropout, StochasticDepth, growing_rates
from jsep.layers.rolling import RollingPointwiseConv
from jsep.layers.sharing import (
    GroupSum,
    KernelSharingConv,
    PairWeightedKernelSharingConv,
    SharedSeparableConv,
    Sharing,
    WeightedKernelSharingConv,
    dense_or_shared,
)
from jsep.layers.watch import path_of, watch

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Conv",
    "DepthwiseConv",
    "DiCE",
    "Dropout",
    "EfficientChannelAttention",
    "GlobalAvgPool",
    "GroupSum",
    "KernelSharingConv",
    "MaxPool",
    "MixedDepthwiseConv",
    "PReLU",
    "PairWeightedKernelSharingConv",
    "PointwiseConv",
    "RollingPointwiseConv",
    "Separable",
    "SeparableConv",
    "SharedSeparableConv",
    "Sharing",
    "SplitPointwiseConv",
    "SqueezeExcite",
    "StochasticDepth",
    "WeightedKernelSharingConv",
    "classifier",
    "dense_or_separable",
    "dense_or_shared",
    "eca_kernel_size",
    "growing_rates",
    "keras_glorot_depthwise",
    "path_of",
    "watch",
]
