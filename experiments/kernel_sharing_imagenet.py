"""ResNet-18 and MobileNet V1 with kernels shared by input channels, on ImageNet.

Source     H. Zhou, Y.-T. Chen, J. Zhang, W.-H. Fang: Efficient Weighted Kernel Sharing Convolutional Neural Networks
           (2018), of which we could read only the abstract. The networks, the groups and the recipe are reconstructed.
Command    jsep compare kernel_sharing_imagenet
Recipe     SGD with Nesterov momentum 0.9, weight decay 1e-4, batch 256, learning rate 0.1 divided by 10 at a third and
           at two thirds of 90 epochs, flips and random resized crops (the default for streamed images).
Expect     Parameters: resnet18 11,689,512; resnet18_ksc4 3,450,408; resnet18_wksc4 3,453,800; resnet18_wksc8 2,080,616;
           mobilenet_v1 4,231,976; mobilenet_v1_wksc4 1,841,328. No accuracy is known.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="Shared kernels, ImageNet",
    models=("resnet18", "resnet18_ksc4", "resnet18_wksc4", "resnet18_wksc8", "mobilenet_v1", "mobilenet_v1_wksc4"),
    recipe=Recipe(
        data=Data("imagenet2012", normalize="imagenet"),
        augment=Augmentation(flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.1, epochs=90, milestones=(1 / 3, 2 / 3)),
        batch_size=256,
    ),
)
