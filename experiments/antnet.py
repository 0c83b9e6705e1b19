"""ANTNet and MobileNet V2 on CIFAR-100.

Source     Xiong, Kim, Hedau, arXiv 1904.03775. The compute that the paper prints implies two groups in every block and
           images of 224x224. The reduction ratios of the attention come from a third party's code.
Command    jsep compare antnet
           On 32x32 images: jsep compare antnet --image-size 32 --options input=cifar
Recipe     A third party's, unverified: SGD with Nesterov momentum 0.9, weight decay 4e-5, learning rate 0.01 divided by
           10 at epochs 200 and 300 of 400.
Expect     Published accuracy on CIFAR-100: ANTNet 75.7 %, MobileNet V2 74.2 %. With 100 classes 240.88 M and 299.62 M
           MACs.
State      Not run at this size; `efficient_small` has a small form.
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
