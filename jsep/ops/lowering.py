"""Choosing the lowering of an operation that has several, while a program is traced."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
from jax import lax

from jsep import native

_portable = jax.make_user_context(False)  # part of the keys of JAX's caches
_elsewhere = jax.make_user_context(False)


def portable_operations() -> AbstractContextManager[None]:
    """Trace every convolution and every pooling inside the context as a single operation.

    For programs that are exported: converters and other runtimes recognise a convolution, but not the slices and
    products that are faster on a CPU.

    >>> from jsep import ops
    >>> with portable_operations():
    ...     program = jax.make_jaxpr(ops.depthwise_conv)(jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 1, 8)))
    >>> [equation.primitive.name for equation in program.eqns]
    ['conv_general_dilated']
    """
    return _portable(True)


def for_another_machine() -> AbstractContextManager[None]:
    """Trace without native kernels inside the context: for programs that are compiled for or run on another machine.

    `jax.export` refuses a program that calls them, and a TPU's program would hold folded convolutions that only a CPU
    gains from.
    """
    return _elsewhere(True)


def portable() -> bool:
    """Return whether the program is traced under `portable_operations`."""
    return _portable.value


def native_kernels() -> bool:
    """Return whether the program may call native kernels if it is compiled for a CPU."""
    return not _portable.value and not _elsewhere.value and native.enabled()


def by_platform(
    *args: Any, cpu: Callable[..., Any], default: Callable[..., Any], tpu: Callable[..., Any] | None = None
) -> Any:
    """Apply `cpu` or `tpu` if the program is compiled for one, and `default` elsewhere and in portable programs.

    Args:
        *args: arguments of the functions.
        cpu: the form for CPUs.
        default: the form for all other platforms.
        tpu: the form for TPUs; `default` if there is none.
    """
    if portable():
        return default(*args)
    own = {"cpu": cpu} | ({"tpu": tpu} if tpu else {})
    return lax.platform_dependent(*args, **own, default=default)
