"""TensorFlow's trained SSD MobileNet V1 finds the same objects here, without its 8 bits."""

from pathlib import Path

import jax
import pytest
import ssd_mobilenet_v1_coco as experiment

pytest.importorskip("ai_edge_litert")

SHARED = Path(__file__).parents[3] / "shared"
DATA = SHARED / "tfds" / "coco_mini" / "1.0.0"


def weights():
    path = SHARED / "weights" / "ssd_mobilenet_v1_coco_quant_2018.tflite"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the project")
    return path


def test_the_trained_weights_are_those_of_the_network():
    variables = experiment.variables_of(experiment.dequantised(weights()))
    model, images = experiment.TensorFlowSSD(num_classes=91), jax.ShapeDtypeStruct((1, 300, 300, 3), "float32")
    made = jax.eval_shape(model.init, jax.random.key(0), images)
    assert jax.tree.map(lambda leaf: leaf.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, made)


@pytest.mark.slow
def test_the_average_precision_is_that_of_the_file():
    path = weights()
    if not DATA.is_dir():
        pytest.skip("coco_mini is not beside the project")
    assert experiment.measure(experiment.network(path), DATA)["ap"] == pytest.approx(0.265, abs=0.002)
