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

from jsep.train import Comparison, Recipe

experiment = Comparison(
    title="ANTNet and MobileNet V2",
    models=("mobilenet_v2", "antnet_g1", "antnet_g2"),
    recipe=Recipe(
        data="cifar100",
        image_size=224,
        crop=28,
        flip=True,
        epochs=400,
        batch_size=128,
        optimizer="sgd",
        lr=0.01,
        weight_decay=4e-5,
        schedule="step",
        milestones=(0.5, 0.75),
    ),
)
