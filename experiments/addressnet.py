"""AddressNet at three depths, with added and with shifted shortcuts, on CIFAR-100.

Source     He et al., arXiv 1809.08458 (WACV 2019). We could not read the body of the paper: the networks are
           reconstructed to match two rows of a survey in size, so no published accuracy belongs to them.
Command    jsep compare addressnet
Recipe     That of the code of ShiftResNet, which AddressNet competes with: SGD with momentum 0.9, weight decay 5e-4,
           batch 128, learning rate 0.1 divided by 10 at epochs 81 and 122 of 164, crop and flip.
Expect     Parameters: addressnet20 81,694, addressnet32 139,654, addressnet44 197,614; enhanced 67,492, 111,592 and
           155,692.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="AddressNet",
    models=(
        "addressnet20",
        "addressnet32",
        "addressnet44",
        "enhanced_addressnet20",
        "enhanced_addressnet32",
        "enhanced_addressnet44",
    ),
    recipe=Recipe(
        data=Data("cifar100"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("step", lr=0.1, epochs=164, milestones=(81 / 164, 122 / 164)),
        batch_size=128,
    ),
)
