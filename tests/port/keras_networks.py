"""A program that saves Keras networks with random weights in each format of Keras 3, and their logits.

It runs in a process of its own, since Keras takes its backend from the environment, and its code promotes dtypes:
python keras_networks.py FOLDER NAME ...
"""
# Keras is no extra, and not where types are checked
# pyright: reportMissingImports=false

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path, names: list[str]) -> None:
    """Write NAME.weights.h5, NAME.keras, NAME.h5, and NAME.npz with images and logits."""
    import jax
    import keras
    from keras import layers

    def zeros(self: Any, shape: Any, dtype: Any = None, **_: Any) -> np.ndarray:
        return np.zeros(shape, "float32")  # drawn anew below; Keras's way compiles a program for each shape

    setattr(keras.initializers.VarianceScaling, "__call__", zeros)  # noqa: B010 (its types forbid it)
    top: dict[str, Any] = {"weights": None, "classes": 7, "classifier_activation": None}
    apps: Any = keras.applications

    def notebook(separable: tuple[int, ...]) -> Any:
        """MU-PING/Depthwise-separable-CNN at 1/32 of its width."""
        stack = [keras.Input((32, 32, 3))]
        for stage, width in enumerate((16, 8, 4)):
            for place in (2 * stage + 1, 2 * stage + 2):
                layer = layers.SeparableConv2D if place in separable else layers.Conv2D
                stack.append(layer(width, 3, padding="same", activation="relu"))
            stack += [layers.MaxPooling2D(), layers.BatchNormalization(), layers.Dropout(0.3)]
        stack += [layers.Flatten(), *(layers.Dense(width, activation="relu") for width in (256, 128, 64))]
        return keras.Sequential([*stack, layers.Dense(10)])

    def example() -> Any:
        """The separable network of Keras's examples at a quarter of its width."""
        stack = [keras.Input((64, 64, 3)), layers.Rescaling(1 / 255)]
        for i, width in enumerate((8, 16, 16, 32, 16, 32), start=1):
            stack.append(layers.SeparableConv2D(width, 3, activation="relu"))
            stack += [layers.MaxPooling2D()] if i in (2, 4) else []
        stack += [layers.GlobalAveragePooling2D(), layers.Dense(32, activation="relu")]
        return keras.Sequential([*stack, layers.Dense(10)])

    def tuned() -> Any:
        """A base of keras.applications inside a network, half of it frozen, with own classes behind it."""
        base = apps.MobileNet((32, 32, 3), 0.25, weights=None, include_top=False)
        for layer in base.layers[:40]:
            layer.trainable = False
        images = keras.Input((32, 32, 3))
        x = base(layers.Rescaling(1 / 127.5, offset=-1)(images), training=False)
        return keras.Model(images, layers.Dense(7)(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))))

    makers = {
        "regular_cnn": lambda: notebook(()),
        "both_cnn": lambda: notebook((2, 4, 6)),
        "separable_cnn": lambda: notebook((1, 2, 3, 4, 5, 6)),
        "keras_separable_cnn": example,
        "tuned": tuned,
        "mobilenet_v1": lambda: apps.MobileNet((32, 32, 3), 0.25, **top),
        "mobilenet_v2": lambda: apps.MobileNetV2((32, 32, 3), 0.35, **top),
        "mobilenet_v3_large": lambda: apps.MobileNetV3Large((32, 32, 3), 0.5, **top),
        "mobilenet_v3_small": lambda: apps.MobileNetV3Small((32, 32, 3), 0.75, **top),
        "xception": lambda: apps.Xception(input_shape=(71, 71, 3), **top),
        "inception_v3": lambda: apps.InceptionV3(input_shape=(75, 75, 3), **top),
    }
    for name in names:
        rng = np.random.default_rng(0)
        model = makers[name]()
        for layer in model._flatten_layers():
            if layer.weights and not isinstance(layer, keras.Model):
                layer.set_weights(
                    [draw(rng, weight.name, weight.shape) for weight in layer.weights if "seed" not in weight.name]
                )
        x = rng.uniform(-1, 1, (2, *model.input_shape[1:])).astype("float32")
        rescaled = next((layer for layer in model._flatten_layers() if isinstance(layer, layers.Rescaling)), None)
        images = (x - rescaled.offset) / rescaled.scale if rescaled else x
        held = [
            [value.value for value in values] for values in (model.trainable_variables, model.non_trainable_variables)
        ]
        logits, _ = jax.jit(model.stateless_call)(*held, images)
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
        model.save_weights(folder / f"{name}.weights.h5")
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        np.savez(folder / f"{name}.npz", x=x, logits=np.asarray(logits))


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw an array of a layer, with no number at its default."""
    if len(shape) == 1:
        return rng.uniform(0.5, 1.5, shape) if name in ("gamma", "moving_variance") else rng.normal(0, 0.2, shape)
    inputs = shape[:2] if "depthwise" in name or shape[-1] == 1 else shape[:-1]  # of one output
    return rng.normal(0, np.prod(inputs) ** -0.5, shape)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
