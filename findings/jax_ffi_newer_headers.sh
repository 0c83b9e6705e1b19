#!/bin/sh
# jax 0.10.2: a handler of XLA's foreign function interface that was built with the headers of jaxlib 0.12.0 is taken without
# a look at it if it is registered before JAX has started its CPU backend. Once it starts, XLA refuses the handler's version, and
# with it the whole backend: nothing can be computed on the CPU any more, though no program ever calls the handler.
# Registered after the backend has started, the same handler is refused by an error of its own, and JAX goes on.
#
# Seen with Python 3.11:
#   registered first: RuntimeError: Unable to initialize backend 'cpu' ...
#   registered later: refused; 1 + 1 = 2.0
#
# It matters for whoever ships an extension as a wheel: build it with the oldest jaxlib that it should run with, and
# register its handlers only when the backend is there.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
"$folder/venv/bin/pip" download --quiet --no-deps --only-binary=:all: --python-version 3.12 -d "$folder" jaxlib==0.12.0.1 ||
    "$folder/venv/bin/pip" download --quiet --no-deps --only-binary=:all: --python-version 3.12 -d "$folder" jaxlib==0.12.0
"$folder/venv/bin/python" -m zipfile -e "$folder"/jaxlib-*.whl "$folder/newer"
cat > "$folder/handler.cc" <<'CPP'
#include "xla/ffi/api/ffi.h"
namespace ffi = xla::ffi;
static ffi::Error Nothing(ffi::Result<ffi::Buffer<ffi::F32>>) { return ffi::Error::Success(); }
XLA_FFI_DEFINE_HANDLER_SYMBOL(nothing, Nothing, ffi::Ffi::Bind().Ret<ffi::Buffer<ffi::F32>>());
CPP
g++ -std=c++17 -w -shared -fPIC -I "$folder/newer/jaxlib/include" "$folder/handler.cc" -o "$folder/handler.so"
cat > "$folder/program.py" <<'PYTHON'
import ctypes
import sys

import jax
import jax.numpy as jnp

assert jax.__version__ == "0.10.2"
library, when = ctypes.CDLL(sys.argv[1]), sys.argv[2]


def register():
    jax.ffi.register_ffi_target("nothing", jax.ffi.pycapsule(library.nothing), platform="cpu")


if when == "first":
    register()
    try:
        print("registered first:", 1 + jnp.ones(()))
        sys.exit(1)
    except RuntimeError as error:
        print("registered first: RuntimeError:", str(error)[:90], "...")
        sys.exit("Unable to initialize backend 'cpu'" not in str(error))
jax.devices()
try:
    register()
    sys.exit(1)
except Exception:
    print("registered later: refused; 1 + 1 =", 1 + jnp.ones(()))
PYTHON
for when in first later; do
    JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/program.py" "$folder/handler.so" "$when"
done
