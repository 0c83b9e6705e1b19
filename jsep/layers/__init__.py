"""Linen modules built on `jsep.ops`, with the usual names and, by default, PyTorch's padding."""

from jsep.layers.activation import PReLU
from jsep.layers.attention import Attention, EfficientChannelAttention, SqueezeExcite, attended, eca_kernel_size
from jsep.layers.conv import Conv, DepthwiseConv, PointwiseConv, SeparableConv
from jsep.layers.conv_norm import WithBatchNorm, call_conv, conv_norm
from jsep.layers.dice import DiCE
from jsep.layers.head import classifier
from jsep.layers.initializers import keras_glorot_depthwise
from jsep.layers.mixed import MixedDepthwiseConv, SplitPointwiseConv
from jsep.layers.norm import BatchNorm, FrozenBatchNorm, GroupNorm, L2Norm
from jsep.layers.pool import AvgPool, GlobalAvgPool, MaxPool
from jsep.layers.regularization import Dropout, StochasticDepth, growing_rates
from jsep.layers.rolling import RollingPointwiseConv
from jsep.layers.sharing import (
    GroupSum,
    KernelSharingConv,
    PairWeightedKernelSharingConv,
    SharedSeparableConv,
    WeightedKernelSharingConv,
    groups_of,
)
from jsep.layers.spatial import SHARED_KINDS, SpatialKind, spatial_conv
from jsep.layers.watch import path_of, watch

__all__ = [
    "SHARED_KINDS",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "Conv",
    "DepthwiseConv",
    "DiCE",
    "Dropout",
    "EfficientChannelAttention",
    "FrozenBatchNorm",
    "GlobalAvgPool",
    "GroupNorm",
    "GroupSum",
    "KernelSharingConv",
    "L2Norm",
    "MaxPool",
    "MixedDepthwiseConv",
    "PReLU",
    "PairWeightedKernelSharingConv",
    "PointwiseConv",
    "RollingPointwiseConv",
    "SeparableConv",
    "SharedSeparableConv",
    "SpatialKind",
    "SplitPointwiseConv",
    "SqueezeExcite",
    "StochasticDepth",
    "WeightedKernelSharingConv",
    "WithBatchNorm",
    "attended",
    "call_conv",
    "classifier",
    "conv_norm",
    "eca_kernel_size",
    "groups_of",
    "growing_rates",
    "keras_glorot_depthwise",
    "path_of",
    "spatial_conv",
    "watch",
]
