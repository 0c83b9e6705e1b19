"""VGG-16 at a quarter of the width: kernels shared by 2, 4 and 8 channels, against narrower networks.

Source     The question of kernel_sharing.py, at a size that two CPU cores manage: accuracy against parameters of
           kernel sharing (KSC), of its weighted form (WKSC), of WKSC with separable convolution, and of the width
           multiplier; and what the weights of WKSC gain.
Command    jsep compare kernel_sharing_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 5e-4, batch 128, a cosine from 0.1 to zero over 30 epochs, crop
           and flip. Different from kernel_sharing.py: a quarter of the width, CIFAR-10, 30 epochs instead of 200. The
           networks, the groups and the recipe of the papers are not known.
Expect     Thousands of parameters and million MACs: 923 and 19.9; shared by 2, 4, 8: 463 and 10.2, 234 and 5.3, 119 and
           2.9; width 0.18 and 0.125 instead: 477 and 10.2, 232 and 5.1. No accuracy is known.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

GROUPS = (2, 4, 8)

experiment = Comparison(
    title="VGG-16 with shared kernels, a quarter of the width",
    models=(
        "vgg16_bn",
        "vgg16_bn width=0.18",
        "vgg16_bn width=0.125",
        *(f"vgg16_bn conv=ksc sharing={groups}" for groups in GROUPS),
        *(f"vgg16_bn conv=wksc sharing={groups}" for groups in GROUPS),
        "vgg16_bn conv=separable",
        "vgg16_bn conv=wksc_separable sharing=4",
    ),
    options={"width": 0.25},
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=30),
        batch_size=128,
    ),
    seeds=3,
    against={f"vgg16_bn conv=wksc sharing={groups}": f"vgg16_bn conv=ksc sharing={groups}" for groups in GROUPS},
)
