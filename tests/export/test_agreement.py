"""Files are compared with the live network by their logits or detections, whatever the order of what is equal."""

import numpy as np
import pytest

from jsep.boxes import Detections
from jsep.export.agreement import TOLERANCE, Agreement, agreement

SIDE = 8
IMAGES = np.zeros((3, SIDE, SIDE, 3), np.uint8)
RNG = np.random.default_rng(0)
CORNERS = RNG.uniform(0, 4, (3, 200, 2))
FOUND = Detections(
    np.concatenate([CORNERS, CORNERS + 2], -1).astype(np.float32),  # pyright: ignore[reportArgumentType]
    RNG.integers(1, 4, (3, 200)),  # pyright: ignore[reportArgumentType]
    np.sort(RNG.uniform(size=(3, 200)).astype(np.float32))[:, ::-1],  # pyright: ignore[reportArgumentType]
    np.arange(200) < np.array([[200], [100], [0]]),  # pyright: ignore[reportArgumentType]
)


def compared(ours, theirs) -> Agreement:
    return agreement(lambda images: ours, lambda images: theirs, IMAGES, len(IMAGES))


def changed(name, change) -> Detections:
    return FOUND._replace(**{name: change(np.array(getattr(FOUND, name)))})


def first_added(array, value):
    array[:, :1] += value
    return array


@pytest.mark.parametrize(
    ("name", "change", "agrees", "same"),
    [
        ("scores", lambda scores: scores, True, 3),
        ("scores", lambda scores: scores + np.float32(2e-5), True, 3),
        ("scores", lambda scores: scores * 0.9, False, 1),
        ("boxes", lambda corners: corners + 1e-3 * SIDE, False, 1),
        ("boxes", lambda corners: first_added(corners, 1), True, 1),  # one detection in a hundred
        ("labels", lambda labels: labels % 3 + 1, False, 1),
        ("valid", lambda valid: valid & (np.arange(200) < 90), False, 1),
        ("scores", lambda scores: scores * np.nan, False, 1),
    ],
)
def test_detections_are_compared_with_the_nearest(name, change, agrees, same):
    found = compared(FOUND, changed(name, change))
    assert (found.difference <= TOLERANCE, found.same, found.compared) == (agrees, same, 3)


def test_the_order_of_detections_does_not_matter():
    order = RNG.permutation(200)
    found = compared(FOUND, Detections(*(np.asarray(array)[:, order] for array in FOUND)))  # pyright: ignore
    assert found == Agreement(0, 3, 3)


@pytest.mark.parametrize(("shape", "same"), [((3, 5), 2), ((3, 4, 4, 5), 47)])
def test_logits_are_compared_by_the_largest(shape, same):
    ours = RNG.normal(size=shape).astype(np.float32)
    theirs = ours.copy()
    theirs.reshape(-1, 5)[0] = -theirs.reshape(-1, 5)[0]
    found = compared(ours, theirs)
    assert found.difference == pytest.approx(2 * np.abs(ours.reshape(-1, 5)[0]).max() / np.abs(ours).max(), rel=1e-5)
    assert (found.same, found.compared) == (same, same + 1)
    assert np.isnan(compared(ours, ours * np.nan).difference)
