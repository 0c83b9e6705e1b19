"""Finding, loading and registering the native kernels, and every way in which jsep does without them."""

import os
import subprocess
import sys
import warnings

import jax
import pytest

from jsep import native
from jsep.errors import UserError

needs_kernels = pytest.mark.skipif(not native.kernels(), reason=f"no native kernels: {native.why_not()}")


@pytest.fixture
def anew(monkeypatch):
    """Let a test find the kernels again, under its own conditions."""
    monkeypatch.delenv("JSEP_NATIVE", raising=False)
    monkeypatch.setattr(native, "_last", None)
    native._registered.cache_clear()
    yield monkeypatch
    native._registered.cache_clear()


def python(code: str, **environment: str) -> str:
    """Return what a new process prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_there_are_kernels_or_a_reason():
    assert native.kernels() in ("", *native.SETS)
    assert bool(native.kernels()) != bool(native.why_not())
    assert native.enabled() == bool(native.kernels())


def test_finding_them_does_not_import_jax():
    code = "import sys; from jsep.native import kernels; import jsep; print(repr(kernels()), 'jax' in sys.modules)"
    assert python(code) == f"{native.kernels()!r} False\n"


def test_jsep_native_turns_them_off(anew):
    anew.setenv("JSEP_NATIVE", "0")
    with warnings.catch_warnings(action="error"):
        assert (native.kernels(), native.enabled()) == ("", False)
    assert native.why_not() == "JSEP_NATIVE=0 turns them off"


def test_an_unknown_set_is_refused(anew):
    anew.setenv("JSEP_NATIVE", "avx51")
    for ask in (native.kernels, native.why_not, native.enabled):  # every time, not only the first
        with pytest.raises(UserError, match=r"JSEP_NATIVE=avx51: .*did you mean avx512"):
            ask()


@needs_kernels
def test_a_set_that_is_not_there_is_refused(anew):
    anew.setattr(native, "SETS", ("base", "avx1024"))
    anew.setenv("JSEP_NATIVE", "avx1024")
    with pytest.raises(UserError, match=r"JSEP_NATIVE=avx1024: this machine can use base$"):
        native.kernels()


@needs_kernels
@pytest.mark.parametrize("name", native.SETS)
def test_each_set_runs_that_this_machine_has(name):
    if native.SETS.index(name) > native.SETS.index(native.kernels()):
        pytest.skip(f"this machine has {native.kernels()} at most")
    code = """if True:
        import jax, jax.numpy as jnp
        from jsep import native
        shapes = jax.ShapeDtypeStruct((2, 3, 3, 8), jnp.float32), jax.ShapeDtypeStruct((3, 0), jnp.float32)
        x, kernel, fold = jnp.ones((2, 3, 3, 4)), jnp.ones((1, 1, 4, 8)), jnp.zeros((4, 0))
        def forward(x, kernel, fold):
            return native.call("forward", shapes, x, kernel, fold,
                               geometry=(1, 1, 0, 0, 1, 1), groups=1, act=0, depthwise=False)
        assert native.enabled()
        y, moments = jax.jit(forward)(x, kernel, fold)
        print(native.kernels(), y.shape, moments.shape, y.min(), y.max())"""
    assert python(code, JSEP_NATIVE=name) == f"{name} (2, 3, 3, 8) (3, 0) 4.0 4.0\n"


def test_without_a_build_jsep_says_so(anew, tmp_path):
    anew.setattr(native, "__path__", [str(tmp_path)])
    with warnings.catch_warnings(action="error"):
        assert not native.enabled()
    assert native.why_not() == "they were not built; install jsep again where there is a C++ compiler"


def test_a_damaged_library_is_not_used(anew, tmp_path):
    (tmp_path / "kernels_base.so").write_text("no library")
    anew.setattr(native, "__path__", [str(tmp_path)])
    with pytest.warns(UserWarning, match="jsep computes without its native kernels: they cannot be loaded"):
        assert not native.enabled()


@needs_kernels
def test_kernels_for_a_newer_jaxlib_are_not_used(anew):
    anew.setattr(native, "_ffi_version", lambda: 2)
    assert native.kernels() == ""
    with pytest.warns(UserWarning, match=r"built for a newer jaxlib \(FFI \d+, here 2\); install jsep again"):
        assert not native.enabled()
    with warnings.catch_warnings(action="error"):  # once is enough
        assert not native.enabled()


@needs_kernels
def test_kernels_that_xla_refuses_are_not_used(anew):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("INVALID_ARGUMENT: handler's API version (0.9) is incompatible")

    anew.setattr(jax.ffi, "register_ffi_target", refuse)
    with pytest.warns(UserWarning, match=r"XLA does not take them \(INVALID_ARGUMENT: handler's API version"):
        assert not native.enabled()
    assert native.kernels() == ""


def test_the_version_of_the_interface_is_read_from_jaxlib():
    assert 1 <= native._ffi_version() < float("inf")
