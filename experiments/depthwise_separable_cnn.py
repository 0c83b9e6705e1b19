"""A regular CNN, one that is half depthwise separable, and one that is wholly so.

Source     MU-PING/Depthwise-separable-CNN: a Keras notebook of 2022 with five charts (CIFAR-10, and MNIST).
Command    jsep compare experiments/depthwise_separable_cnn.py
           The published job, on an accelerator (networks of 2.9, 0.63 and 0.33 GMACs an image):
           jsep compare experiments/depthwise_separable_cnn.py --data cifar10 --options --epochs 150
               --batch-size 256 --lr 1e-4 --schedule constant
Default    5,000 digits that come with jsep, an eighth of the width, 15 epochs: minutes on two CPU cores.
Expect     At the default at least 95 % (regular, both) and 90 % (separable). Rows that were measured: results/.

The notebook trains with Adam at 1e-4, constant (its README says 1e-3; the curves belong to the notebook), batch 256,
no augmentation, division by 255 alone. Its charts use the test part as validation part; so do we. Its batch norm keeps
0.99 of the running statistics; the short default job makes fewer steps than that needs, hence momentum=0.9.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Data, Recipe, Schedule

experiment = Comparison(
    title="Regular, half separable and wholly separable CNN",
    models=("regular_cnn", "both_cnn", "separable_cnn"),
    options={"width": 0.125, "momentum": 0.9},
    recipe=Recipe(
        data=Data("mnist5k", normalize="unit"),
        schedule=Schedule("cosine", lr=3e-3, epochs=15),
        batch_size=32,
    ),
)
