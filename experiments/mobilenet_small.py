"""MobileNet V1 by width, dense and shallow, and MobileNet V2 for scale, in their forms for 32x32 images.

Source     The questions of mobilenet_v1_width.py and mobilenet_v1_shape.py (arXiv 1704.04861, Tables 4 to 6), at a size
           that two CPU cores manage. The shapes of Tables 4 and 5 have half of their width here.
Command    jsep compare mobilenet_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 1e-4, batch 128, a cosine from 0.1 to zero over 30 epochs, crop
           and flip. Different from TF-slim's: RMSprop, 4e-5, and 0.045 multiplied by 0.94 every 2.5 of 100 epochs.
Expect     Million MACs: width 0.25 3.3, 0.5 12.2, 0.75 26.5; shallow at 0.5 6.7. On ImageNet the dense form is 1.1
           points ahead of the separable one, and the narrow one 3.1 ahead of the shallow one.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="MobileNet V1 by width and shape, and V2, small",
    models=(
        "mobilenet_v1",
        "mobilenet_v1 width=0.75",
        "mobilenet_v1 width=0.5",
        "mobilenet_v1 width=0.375",
        "mobilenet_v1 width=0.25",
        "mobilenet_v1_full_conv width=0.5",
        "mobilenet_v1_shallow width=0.5",
        "mobilenet_v2 width=0.5",
        "mobilenet_v2 width=0.35",
    ),
    options={"input": "cifar"},
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=30),
        batch_size=128,
    ),
    seeds=3,
    against={
        "mobilenet_v1_full_conv width=0.5": "mobilenet_v1 width=0.5",
        "mobilenet_v1_shallow width=0.5": "mobilenet_v1 width=0.375",
        "mobilenet_v2 width=0.5": "mobilenet_v1 width=0.5",
    },
)
