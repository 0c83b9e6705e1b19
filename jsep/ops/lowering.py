"""Which formulation of an operation a program holds, where there are several: chosen while it is traced."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import jax
from jax import Array, lax

_portable = jax.make_user_context(False)  # a part of the key of JAX's caches


def portable_operations() -> AbstractContextManager[None]:
    """What is traced inside holds one convolution for each convolution, and one pooling for each pooling.

    For programs that leave JAX: converters and other runtimes know a convolution when they see one, and slices and
    products only as such.

    >>> from jsep import ops
    >>> with portable_operations():
    ...     program = jax.make_jaxpr(ops.depthwise_conv)(jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 1, 8)))
    >>> [equation.primitive.name for equation in program.eqns]
    ['conv_general_dilated']
    """
    return _portable(True)


def portable() -> bool:
    """Whether the plain form is wanted."""
    return _portable.value


def by_platform(x: Array, kernel: Array, *, cpu: Callable[..., Array], default: Callable[..., Array]) -> Array:
    """`cpu` where the program is compiled for a CPU, else (and where it is to be portable) `default`."""
    return default(x, kernel) if portable() else lax.platform_dependent(x, kernel, cpu=cpu, default=default)
