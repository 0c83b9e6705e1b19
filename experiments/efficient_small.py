"""Small forms of the efficient networks, at a scale that two CPU cores manage.

Source     Not from a paper. It compares kernel sharing (VGG-16 at a quarter of its width) with networks of inverted
           residuals, nested attention, channel shuffle and dimension-wise convolution in their forms for 32x32 images.
Command    jsep compare efficient_small --data PATH/cifar10_lossless5k/1.0.0 --seeds 2
Recipe     The same for all: SGD with Nesterov momentum 0.9, weight decay 5e-4, batch 64, a cosine from 0.05 to zero
           over 30 epochs, crop and flip.
Expect     Nothing is published: nobody else trained on this small part of CIFAR-10.
State      Run on two CPU cores beside other work. Accuracy of the last epoch in %, two seeds each (all columns in
           results/efficient_small.csv): vgg16_bn 68.8, 70.9; ksc4 60.6, 60.9; wksc4 61.2, 61.4; wksc_ds4 50.3, 52.8;
           mobilenet_v2 56.2, 58.8; antnet_g2 55.7, 53.8; shufflenet_v2_x0_5 55.6, 54.4; dicenet_x0_5 59.9, 59.0.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="Efficient networks, small",
    models=(
        "vgg16_bn width=0.25",
        "vgg16_ksc4 width=0.25",
        "vgg16_wksc4 width=0.25",
        "vgg16_wksc_ds4 width=0.25",
        "mobilenet_v2 width=0.35 input=cifar",
        "antnet_g2 width=0.35 input=cifar",
        "shufflenet_v2_x0_5 input=cifar",
        "dicenet_x0_5 input=cifar",
    ),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("cosine", lr=0.05, epochs=30),
        batch_size=64,
    ),
    against={
        "vgg16_wksc4 width=0.25": "vgg16_ksc4 width=0.25",
        "vgg16_wksc_ds4 width=0.25": "vgg16_wksc4 width=0.25",
        "antnet_g2 width=0.35 input=cifar": "mobilenet_v2 width=0.35 input=cifar",
        "dicenet_x0_5 input=cifar": "shufflenet_v2_x0_5 input=cifar",
    },
)
