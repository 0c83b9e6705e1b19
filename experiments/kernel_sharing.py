"""VGG-16 with kernels shared by input channels, on CIFAR-100: plain, KSC, WKSC, and WKSC with separable convolution.

Source     H. Zhou, Y.-T. Chen, J. Zhang, W.-H. Fang: Efficient Weighted Kernel Sharing Convolutional Neural Networks
           (2018), and a thesis of NTUST. We could read only their abstracts, which name CIFAR-100, Caltech-256 and
           ImageNet; the networks, the groups and the recipe are reconstructed.
Command    jsep compare kernel_sharing
Recipe     SGD with momentum 0.9, weight decay 5e-4, batch 128, learning rate 0.1 divided by 10 at a half and at three
           quarters of 200 epochs, crop and flip.
Expect     Parameters and million MACs: vgg16_bn 14,770,212 and 313.2; vgg16_ksc2 7,415,844 and 157.5; vgg16_ksc4
           3,738,660 and 79.7; vgg16_wksc4 3,742,372 and 79.9; vgg16_wksc8 1,903,780 and 40.9; vgg16_ds 1,729,188 and
           38.1; vgg16_wksc_ds4 482,116 and 11.1. No accuracy is known.
State      Not run at this size; `efficient_small` has a quarter of the width.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="VGG-16 with shared kernels",
    models=("vgg16_bn", "vgg16_ksc2", "vgg16_ksc4", "vgg16_wksc4", "vgg16_wksc8", "vgg16_ds", "vgg16_wksc_ds4"),
    recipe=Recipe(
        data=Data("cifar100"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("step", lr=0.1, epochs=200, milestones=(0.5, 0.75)),
        batch_size=128,
    ),
)
