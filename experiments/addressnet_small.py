"""AddressNet at three depths, with added and with shifted shortcuts, against ResNet-20 and ResNet-32.

Source     The question of addressnet.py (arXiv 1809.08458), on CIFAR-10 and at a length that two CPU cores manage.
Command    jsep compare addressnet_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 5e-4, batch 128, crop and flip, as in addressnet.py. Different:
           10 classes instead of 100, and a cosine from 0.1 to zero over 30 epochs instead of steps in 164.
Expect     Thousands of parameters and million MACs: AddressNet 75 and 11.1, 133 and 19.1, 191 and 27.0; ResNet 270 and
           40.6, 464 and 68.9. No published accuracy belongs to the reconstructed networks.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="AddressNet and ResNet",
    models=(
        "resnet20",
        "resnet32",
        "addressnet20",
        "addressnet32",
        "addressnet44",
        "enhanced_addressnet20",
        "enhanced_addressnet32",
        "enhanced_addressnet44",
    ),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=30),
        batch_size=128,
    ),
    seeds=3,
    against={"addressnet32": "resnet32"}
    | {f"enhanced_addressnet{depth}": f"addressnet{depth}" for depth in (20, 32, 44)},
)
