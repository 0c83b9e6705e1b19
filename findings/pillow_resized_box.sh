#!/bin/sh
# Pillow 13.0.0: scaling a box of a picture, `resize(size, box=...)`, is not the same as scaling the whole picture and
# cutting that part out. In Pillow 12 it was, to one level of 255. Since 13, `resize` chooses by the sizes which axis it scales
# first, and rounds and clips to 8 bits in between; for a box it may choose otherwise than for the whole picture.
#
# Seen with Python 3.11, for the central 224 pixels of noise of 173x607 whose shorter side is scaled to 235 (the largest
# difference, in levels of 255):
#   Pillow 12.0.0: bilinear 1, bicubic 1   Pillow 13.0.0: bilinear 1, bicubic 20
#
# It matters for whoever saves time by scaling only the part of a picture that is kept, and expects the pixels of
# another package's resize and centre crop.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
for version in 12.0.0 13.0.0; do
    "$folder/venv/bin/pip" install --quiet numpy "pillow==$version"
    "$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from PIL import Image, __version__

picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (607, 173, 3), np.uint8))
wide, high, left, top, size = 235, 824, 6, 300, 224
x, y = 173 / wide, 607 / high
box = (left * x, top * y, (left + size) * x, (top + size) * y)
found = []
for kind in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
    whole = picture.resize((wide, high), kind).crop((left, top, left + size, top + size))
    part = picture.resize((size, size), kind, box=box)
    found.append(int(np.abs(np.asarray(whole).astype(int) - np.asarray(part)).max()))
print(f"Pillow {__version__}: bilinear {found[0]}, bicubic {found[1]}")
sys.exit((found[1] > 1) != (__version__ == "13.0.0"))
PYTHON
done
