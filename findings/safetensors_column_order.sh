#!/bin/sh
# safetensors 0.8.0: the NumPy writer stores an array that is not in C order under its own shape, but with its values
# in the order of memory. It says nothing, and the file reads back as another array. 0.7.0 wrote it rightly.
#
# It matters for whoever saves what comes from a device: NumPy keeps the strides of a JAX array, and a TPU's default
# layout of a matrix is often column by column. The remedy is numpy.ascontiguousarray before every save.
#
# Seen with Python 3.11 and NumPy 2:
#   0.7.0: [[0, 1, 2], [3, 4, 5]] comes back as [[0, 1, 2], [3, 4, 5]]
#   0.8.0: [[0, 1, 2], [3, 4, 5]] comes back as [[0, 3, 1], [4, 2, 5]]
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
for version in 0.7.0 0.8.0; do
    "$folder/venv/bin/pip" install --quiet "safetensors==$version" "numpy<3"
    "$folder/venv/bin/python" - "$version" <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load, save

version = sys.argv[1]
array = np.asfortranarray(np.arange(6).reshape(2, 3))
back = load(save({"array": array}))["array"]
print(f"{version}: {array.tolist()} comes back as {back.tolist()}")
expected = {"0.7.0": [[0, 1, 2], [3, 4, 5]], "0.8.0": [[0, 3, 1], [4, 2, 5]]}[version]
sys.exit(back.tolist() != expected)
PYTHON
done
