"""ANTNet against MobileNet V2 on CIFAR-100.

Source     Xiong, Kim, Hedau, arXiv 1904.03775. That its model has two groups in every block, on images of 224, follows
           from the compute that it prints; the ratios of its attention are a third party's.
Command    jsep compare experiments/antnet.py
           On 32x32 images: --image-size 32 --options input=cifar
Recipe     A third party's, unverified: SGD, 0.01, Nesterov momentum 0.9, weight decay 4e-5, 400 epochs, divided by 10
           at 200 and 300.
Expect     CIFAR-100 accuracy as published: ANTNet 75.7 %, MobileNet V2 74.2 %. With 100 classes 240.88 M and 299.62 M
           MACs.
State      Not run at this size; small forms in `efficient_small.py`.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="ANTNet and MobileNet V2",
    models=("mobilenet_v2", "antnet_g1", "antnet_g2"),
    recipe=Recipe(
        data=Data("cifar100", image_size=224),
        augment=Augmentation(crop=28, flip=True),
        optimizer=Optimizer("sgd", weight_decay=4e-5),
        schedule=Schedule("step", lr=0.01, epochs=400, milestones=(0.5, 0.75)),
        batch_size=128,
    ),
)
