"""A regular CNN, one that is half depthwise separable, and one that is fully separable, at a quarter of the width.

Source     The question of depthwise_separable_cnn.py, on all of CIFAR-10, at a size that two CPU cores manage.
Command    jsep compare separable_cnn_small --data PATH/cifar10_jpeg/1.0.0 --resume
           MNIST's form on all of mnist5k: jsep compare depthwise_separable_cnn --seeds 3
Recipe     Adam, batch 128, a cosine from 1e-3 to zero over 30 epochs, crop and flip, images divided by 255. Different
           from the notebook: a quarter of the width, augmentation, 30 epochs instead of 150, batch 128 instead of 256,
           and its constant 1e-4 is a cosine.
Expect     Thousands of parameters and million MACs: regular 463 and 184.8; both 293 and 43.0; separable 210 and 22.4.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Recipe, Schedule

experiment = Comparison(
    title="Regular, half separable and fully separable CNN, a quarter of the width",
    models=("regular_cnn", "both_cnn", "separable_cnn"),
    options={"width": 0.25},
    recipe=Recipe(
        data=Data("cifar10", normalize="unit"),
        augment=Augmentation(crop=4, flip=True),
        schedule=Schedule("cosine", lr=1e-3, epochs=30),
        batch_size=128,
    ),
    seeds=3,
)
