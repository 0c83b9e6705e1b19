"""The authors' trained DiCENets for segmentation have the figures here that their own code gives."""

from pathlib import Path

import dicenet_segmentation as experiment
import jax
import pytest

from jsep import create_model
from jsep.port import from_torch, read_state

SHARED = Path(__file__).parents[3] / "shared"
WEIGHTS = {(0.5, 256): "dicenet_seg_0.5_pascal_256", (1.0, 384): "dicenet_seg_1.0_pascal_384"}
FIGURES = {(0.5, 256): (0.8464, 0.2971), (1.0, 384): (0.8654, 0.3302)}
DATA = SHARED / "tfds" / "coco_mini" / "1.0.0"


def weights(width, side):
    path = SHARED / "weights" / f"{WEIGHTS[width, side]}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the project")
    return path


def test_the_trained_weights_are_those_of_the_network():
    name, state = "dicenet_segmentation_x0_5", read_state(weights(0.5, 256))
    variables = from_torch(name, state)
    made = jax.eval_shape(create_model(name).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 256, 256, 3), "float32"))
    assert jax.tree.map(lambda leaf: leaf.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, made)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "side"), FIGURES)
def test_figures_are_those_of_the_authors_code(width, side):
    path = weights(width, side)
    if not DATA.is_dir():
        pytest.skip("coco_mini is not beside the project")
    found = experiment.measure(width, side, path, DATA)
    assert [round(figure, 4) for figure in found] == list(FIGURES[width, side])
