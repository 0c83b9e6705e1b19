#!/bin/sh
# Keras 3.15.1: weights in an .h5 file come back in the wrong layers, without a word, if the network that loads them has
# other frozen layers than the network that was saved. It takes a network inside the network, as in every tuning of a
# pretrained base, and layers of equal shapes, as MobileNet has them. .keras and .weights.h5 are right.
#
# The .h5 format keeps the arrays of an inner network in one list: those that are trained, then those that are not. They
# are loaded by their places in that list, although the file has their names. The remedy is to save as .keras, or to
# freeze the same layers before loading.
#
# Seen with Python 3.11 and JAX 0.10.2, on an inner network of two layers, a and b, of which a was frozen when saving:
#   .h5: a gets the kernel of b
#   .weights.h5: a gets the kernel of a
#   .keras: a gets the kernel of a
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "keras==3.15.1" "jax==0.10.2"
cd "$folder"
KERAS_BACKEND=jax JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np
from keras import Input, Sequential, layers


def make(frozen):
    inner = Sequential([Input((3,)), layers.Dense(3, use_bias=False, name="a"), layers.Dense(3, use_bias=False, name="b")])
    inner.layers[0].trainable = not frozen
    return Sequential([Input((3,)), inner, layers.Dense(1)])


def kernels(network):
    return {layer.name: layer.get_weights()[0] for layer in network.layers[0].layers}


saved, came = make(frozen=True), {}
for suffix in (".h5", ".weights.h5", ".keras"):
    (saved.save_weights if suffix == ".weights.h5" else saved.save)("network" + suffix)
    loaded = make(frozen=False)
    loaded.load_weights("network" + suffix)
    a = kernels(loaded)["a"]
    came[suffix] = next(name for name, kernel in kernels(saved).items() if np.array_equal(kernel, a))
    print(f"{suffix}: a gets the kernel of {came[suffix]}")
sys.exit(came != {".h5": "b", ".weights.h5": "a", ".keras": "a"})
PYTHON
