"""SDenseNet with six orders of normalisation, activation and convolution, on CIFAR-10.

Source     A thesis on depthwise separable networks, of which only the abstract is known. It says that another order
           does better than the usual one, but prints the same string for both. These are the usual order,
           BN-ReLU-Conv-BN-ReLU-Conv, and five readings of the printed one, most likely first.
Command    jsep compare densenet_order
Recipe     DenseNet's (arXiv 1608.06993), as in separable_densenet.py.
Expect     Parameters: 573,322 for the usual order, 574,474 for BN-Conv-BN-ReLU-Conv-BN, 556,810 for the other four. All
           print as 0.6 M, so the size does not tell which order was meant. No accuracy is known.
           The same question for ResNet (arXiv 1603.05027; error on CIFAR-10 in %, ResNet-110 / 164): original
           6.61 / 5.93, BN after the addition 8.17 / 6.50, ReLU before the addition 7.84 / 6.14, ReLU-only
           pre-activation 6.71 / 5.91, full pre-activation 6.37 / 5.46.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

ORDERS = (
    "ReLU-Conv-BN-ReLU-Conv-BN",  # Xception's; He's "ReLU-only pre-activation"
    "BN-Conv-BN-ReLU-Conv-BN",  # PyramidNet's unit
    "Conv-ReLU-BN-ReLU-Conv-BN",  # the text to the letter
    "Conv-BN-ReLU-Conv-BN-ReLU",  # post-activation
    "Conv-ReLU-BN-Conv-ReLU-BN",  # batch norm after ReLU
)

experiment = Comparison(
    title="SDenseNet-BC-100 in six orders",
    models=("sdensenet100_k12_bc", *(f"sdensenet100_k12_bc order={order}" for order in ORDERS)),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.1, epochs=300, milestones=(0.5, 0.75)),
        batch_size=64,
    ),
)
