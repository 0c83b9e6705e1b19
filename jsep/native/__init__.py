"""Kernels in C++ for the convolutions on a CPU, which XLA calls through its foreign function interface (FFI).

They are optional: where they were not built or cannot be used, `enabled` is false, `why_not` says why, and jsep
computes in plain JAX. The environment variable `JSEP_NATIVE`, read at first use, turns them off (0) or names a lesser
set of instructions than the best of the CPU, such as avx2.
"""

import ctypes
import functools
import os
import re
import threading
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsep.errors import UserError, first_line, nearest

SETS = ("base", "avx2", "avx512", "avx512_bf16")  # a CPU that has one has those before it; src/cpu.cc numbers them
HANDLERS = ("jsep_forward", "jsep_backward")
AGAIN = "install jsep again"


def kernels() -> str:
    """Return the set of instructions of the native kernels in use, or "" if none are in use; JAX is not imported.

    Raises:
        UserError: `JSEP_NATIVE` names a set that does not exist, or that this CPU or the installation lacks.
    """
    return _found().name


def why_not() -> str:
    """Return why no native kernels are in use, or "" if they are."""
    return _found().reason


def enabled() -> bool:
    """Return whether JAX computes on the CPU and has native kernels to call.

    If there are some that cannot be used, one warning says why.
    """
    import jax

    if jax.default_backend() != "cpu":
        return False
    with _lock:
        return _registered()


def call(name: str, outputs: Any, *args: Any, **attributes: bool | int | tuple[int, ...]) -> Any:
    """Call a kernel from within JAX, after `enabled` said that there are some.

    Args:
        name: "forward" or "backward"; src/kernels.cc lists their arguments.
        outputs: shapes and dtypes of the results.
        *args: arrays.
        **attributes: what is known when a program is compiled.

    Returns:
        Arrays like `outputs`.
    """
    import jax

    kernel = jax.ffi.ffi_call(f"jsep_{name}", outputs, vmap_method="sequential")
    return kernel(*args, **{key: _attribute(value) for key, value in attributes.items()})


def _attribute(value: bool | int | tuple[int, ...]) -> Any:
    import numpy as np

    if isinstance(value, tuple):
        return np.array(value, np.int64)
    return np.bool_(value) if isinstance(value, bool) else np.int64(value)


@dataclass(frozen=True)
class _Found:
    """The library to use, or why there is none; `broken` if it was built all the same."""

    name: str = ""
    library: ctypes.CDLL | None = None
    reason: str = ""
    broken: bool = False


_last: _Found | None = None
_lock = threading.RLock()


def _found() -> _Found:
    global _last
    with _lock:
        if _last is None:
            try:
                _last = _find()
            except (OSError, AttributeError) as error:  # no library, or none of ours
                _last = _Found(reason=f"they cannot be loaded ({first_line(error)})", broken=True)
        return _last


def _find() -> _Found:
    wish = os.environ.get("JSEP_NATIVE") or "1"
    if wish == "0":
        return _Found(reason="JSEP_NATIVE=0 turns them off")
    if wish not in ("1", *SETS):
        raise UserError(f"JSEP_NATIVE={wish}: it must be 0, 1 or a set of instructions; {nearest(wish, SETS)}")
    # an editable installation keeps what was built apart from the sources; __path__ has both folders
    files = [Path(folder, f"kernels_{name}.so") for folder in __path__ for name in SETS]
    built = {path.stem.removeprefix("kernels_"): path for path in files if path.is_file()}
    if "base" not in built:
        return _Found(reason="they were not built; install jsep again where there is a C++ compiler")
    base = ctypes.CDLL(str(built["base"]))
    theirs, ours = base.jsep_ffi_version(), _ffi_version()
    if theirs > ours:
        return _Found(reason=f"they were built for a newer jaxlib (FFI {theirs}, here {ours}); {AGAIN}", broken=True)
    usable = [name for name in SETS[: base.jsep_cpu() + 1] if name in built]
    if wish not in ("1", *usable):
        raise UserError(f"JSEP_NATIVE={wish}: this machine can use {', '.join(usable)}")
    name = usable[-1] if wish == "1" else wish
    return _Found(name, ctypes.CDLL(str(built[name])))


def _ffi_version() -> float:
    """Return the version of the FFI that the installed jaxlib has, as src/cpu.cc counts it; infinity if unknown."""
    jaxlib = find_spec("jaxlib")
    header = Path(jaxlib.origin or "").parent / "include/xla/ffi/api/c_api.h" if jaxlib else Path()
    text = header.read_text() if header.is_file() else ""
    major, minor = (re.search(rf"define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR"))
    return 1000 * int(major[1]) + int(minor[1]) if major and minor else float("inf")


@functools.cache
def _registered() -> bool:
    """Register the handlers with XLA and return whether it takes them.

    XLA must have started. Until then JAX keeps handlers without a look at them, and if XLA later refuses one, for its
    version, there is no CPU backend at all.
    """
    global _last
    import jax

    found = _found()
    try:
        for name in HANDLERS if found.library else ():
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(found.library, name)), platform="cpu")
    except Exception as error:  # whatever XLA has against them
        found = _last = _Found(reason=f"XLA does not take them ({first_line(error)}); {AGAIN}", broken=True)
    if found.broken:
        warnings.warn(f"jsep computes without its native kernels: {found.reason}", stacklevel=2)
    return found.library is not None
