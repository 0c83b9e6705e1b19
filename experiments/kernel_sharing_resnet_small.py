"""ResNet-18 at a quarter of the width: kernels shared by 2, 4 and 8 channels, against narrower networks.

Source     The question of kernel_sharing_caltech256.py, at a size that two CPU cores manage: accuracy against
           parameters of kernel sharing (KSC), of its weighted form (WKSC), of WKSC with separable convolution, and of
           the width multiplier; and what the weights of WKSC gain.
Command    jsep compare kernel_sharing_resnet_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 5e-4, batch 128, a cosine from 0.1 to zero over 30 epochs, crop
           and flip. Different from kernel_sharing_caltech256.py: the form for 32x32 images at a quarter of the width,
           CIFAR-10, 30 epochs instead of 100. The networks, the groups and the recipe of the papers are not known.
Expect     Thousands of parameters and million MACs: 701 and 35.0; shared by 2, 4, 8: 358 and 17.9, 187 and 9.4, 101 and
           5.1; width 0.18 and 0.125 instead: 363 and 17.7, 176 and 8.9. No accuracy is known.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

GROUPS = (2, 4, 8)

experiment = Comparison(
    title="ResNet-18 with shared kernels, a quarter of the width",
    models=(
        "resnet18",
        "resnet18 width=0.18",
        "resnet18 width=0.125",
        *(f"resnet18 conv=ksc sharing={groups}" for groups in GROUPS),
        *(f"resnet18 conv=wksc sharing={groups}" for groups in GROUPS),
        "resnet18 conv=separable",
        "resnet18 conv=wksc_separable sharing=4",
    ),
    options={"width": 0.25, "input": "cifar"},
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=30),
        batch_size=128,
    ),
    seeds=3,
    against={f"resnet18 conv=wksc sharing={groups}": f"resnet18 conv=ksc sharing={groups}" for groups in GROUPS},
)
