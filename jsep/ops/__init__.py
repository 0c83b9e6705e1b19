"""The numerics: pure functions of arrays, without Flax. Activations are NHWC, kernels HWIO."""

from jsep.ops.compiling import inference_options, jit_inference
from jsep.ops.conv import conv, pointwise_conv
from jsep.ops.depthwise import depthwise_conv
from jsep.ops.dropout import batch_positions, dropout
from jsep.ops.exchanged import exchanged_conv
from jsep.ops.fold import Fold, apply_fold
from jsep.ops.fused import Moments, fused_conv
from jsep.ops.geometry import Padding, explicit_padding
from jsep.ops.lowering import for_another_machine, native_kernels, portable_operations
from jsep.ops.norm import batch_moments, batch_norm, batch_norm_train
from jsep.ops.pool import avg_pool, global_avg_pool, max_pool
from jsep.ops.resize import adaptive_avg_pool, resize, resize_axis
from jsep.ops.sharing import expand_shared_kernel, group_sum
from jsep.ops.shift import Shift, address_shift, channel_shift, shifted, shifted_conv, shortcut_shift
from jsep.ops.shuffle import channel_shuffle

__all__ = [
    "Fold",
    "Moments",
    "Padding",
    "Shift",
    "adaptive_avg_pool",
    "address_shift",
    "apply_fold",
    "avg_pool",
    "batch_moments",
    "batch_norm",
    "batch_norm_train",
    "batch_positions",
    "channel_shift",
    "channel_shuffle",
    "conv",
    "depthwise_conv",
    "dropout",
    "exchanged_conv",
    "expand_shared_kernel",
    "explicit_padding",
    "for_another_machine",
    "fused_conv",
    "global_avg_pool",
    "group_sum",
    "inference_options",
    "jit_inference",
    "max_pool",
    "native_kernels",
    "pointwise_conv",
    "portable_operations",
    "resize",
    "resize_axis",
    "shifted",
    "shifted_conv",
    "shortcut_shift",
]
