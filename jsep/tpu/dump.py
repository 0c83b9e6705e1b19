"""The folder into which libtpu writes the machine code of the programs that it compiles."""

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jsep.errors import UserError

FLAGS = "--xla_jf_dump_to={} --xla_jf_dump_llo_text=true --xla_jf_dump_llo_pass_label_regex=^final_bundles$"
LOADED = Path("/proc/self/maps")  # the libraries of this process; libtpu exists for Linux only


@functools.cache
def request() -> Path | None:
    """Ask libtpu for the machine code of what it compiles. To be called before libtpu is loaded.

    libtpu reads its flags once in a process. Flags in `LIBTPU_INIT_ARGS` are kept.

    Returns:
        The temporary folder that it will write to, removed when the process ends; None if libtpu is loaded already.
    """
    if LOADED.exists() and "libtpu.so" in LOADED.read_text():
        return None
    folder = Path(tempfile.mkdtemp(prefix="jsep-tpu-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["LIBTPU_INIT_ARGS"] = f"{os.environ.get('LIBTPU_INIT_ARGS', '')} {FLAGS.format(folder)}".strip()
    return folder


@contextmanager
def machine_code() -> Iterator[Path]:
    """Yield an empty folder that receives the machine code of what is compiled meanwhile, and empty it again.

    JAX's cache of compiled programs is not used meanwhile: it would answer without the compiler.

    Raises:
        UserError: libtpu was loaded before `request` was called.
    """
    folder = request()
    if folder is None:
        raise UserError(
            "libtpu was loaded in this process before jsep could ask it for machine code: estimate in a new process"
        )
    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    _empty(folder)
    _cache(False)
    try:
        yield folder
    finally:
        _cache(cached)
        _empty(folder)


def _cache(enabled: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", enabled)
    compilation_cache.reset_cache()  # JAX looks at the setting once until then


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
