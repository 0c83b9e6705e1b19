"""A regular CNN, one that is half depthwise separable, and one that is fully separable.

Source     MU-PING/Depthwise-separable-CNN: a Keras notebook of 2022 with five charts (CIFAR-10 and MNIST).
Command    jsep compare depthwise_separable_cnn
           The published job, on an accelerator (networks of 2.9, 0.63 and 0.33 GMACs per image):
           jsep compare depthwise_separable_cnn --data cifar10 --options --epochs 150 --batch-size 256 --lr 1e-4
               --schedule constant
Recipe     By default 5,000 digits that come with jsep, an eighth of the width and 15 epochs: minutes on two CPU cores.
Expect     At the default at least 95 % (regular, both) and 90 % (separable); results/ has measured rows.

The notebook trains with Adam at a constant 1e-4 (its README says 1e-3, but the curves are the notebook's), batch 256,
no augmentation, and images divided by 255. Its charts show the test images as validation images, and so do ours. Its
batch norm keeps 0.99 of the running statistics at each step. The default job has too few steps for that: momentum=0.9.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Data, Recipe, Schedule

experiment = Comparison(
    title="Regular, half separable and fully separable CNN",
    models=("regular_cnn", "both_cnn", "separable_cnn"),
    options={"width": 0.125, "momentum": 0.9},
    recipe=Recipe(
        data=Data("mnist5k", normalize="unit"),
        schedule=Schedule("cosine", lr=3e-3, epochs=15),
        batch_size=32,
    ),
)
