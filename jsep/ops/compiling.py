"""Compiling forward passes without a fault of some versions of XLA."""

from collections.abc import Callable
from typing import Any

import jax

_PRODUCTS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"


def inference_options() -> dict[str, str | bool]:
    """Return the compiler options that a forward pass needs on this version of JAX and this device, mostly none.

    On a CPU, JAX 0.10.2 to 0.12 passes sums and element-wise operations to a library that turns NaN into 0 in a ReLU
    and, in 0.10.2, ends the process in some networks. The library keeps products and convolutions, so inference is as
    fast. A training step would be twice as slow, and does not need the options.
    """
    if not (0, 10, 2) <= jax.__version_info__ < (0, 13) or jax.default_backend() != "cpu":
        return {}
    return {"xla_cpu_experimental_ynn_fusion_type": _PRODUCTS}


def jit_inference(function: Callable[..., Any]) -> Any:
    """Return `jax.jit(function)`, compiled with `inference_options`."""
    return jax.jit(function, compiler_options=inference_options())
