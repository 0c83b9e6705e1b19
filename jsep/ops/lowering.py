"""Choosing the lowering of an operation that has several, while a program is traced."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import jax
from jax import Array, lax

_portable = jax.make_user_context(False)  # part of the keys of JAX's caches


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


def portable() -> bool:
    """Return whether the program is traced under `portable_operations`."""
    return _portable.value


def by_platform(x: Array, kernel: Array, *, cpu: Callable[..., Array], default: Callable[..., Array]) -> Array:
    """Apply `cpu` if the program is compiled for a CPU, and `default` for all other platforms and portable programs."""
    return default(x, kernel) if portable() else lax.platform_dependent(x, kernel, cpu=cpu, default=default)
