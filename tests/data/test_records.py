"""The fingerprint of a data set: what changes it, and what does not."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jsep.data.records import fingerprint

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)


def rows(pixels: np.ndarray = PIXELS, compression: int = 6, **changes: int) -> list[dict[str, Any]]:
    found = []
    for index, one in enumerate(pixels):
        file = io.BytesIO()
        Image.fromarray(one).save(file, "PNG", compress_level=compression)
        found.append({"image": file.getvalue(), "label": changes.get(f"label{index}", index % 2)})
    return found


def test_another_png_encoder_gives_the_same():
    assert rows()[0]["image"] != rows(compression=0)[0]["image"]
    assert fingerprint("ab", rows(), rows()) == fingerprint("ab", rows(compression=0), rows())


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        ("ba", rows(), rows()),
        ("ab", rows(label3=0), rows()),
        ("ab", rows(), rows(PIXELS[::-1])),
        ("ab", rows(PIXELS[:5]), rows()),
        ("ab", rows(), [*rows()[:5], {"image": b"\x89PNG broken", "label": 1}]),
    ],
)
def test_other_data_give_another(names, train, test):
    assert fingerprint(names, train, test) != fingerprint("ab", rows(), rows())
