"""ANTNet against MobileNet V2 at 0.35 of the width, in their forms for 32x32 images.

Source     The question of antnet.py (arXiv 1904.03775), at a size that two CPU cores manage.
Command    jsep compare antnet_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 5e-4, batch 128, a cosine from 0.1 to zero over 30 epochs, crop
           and flip. Different from the recipe in antnet.py: 10 classes instead of 100, images of 32x32, weight decay
           4e-5 and 400 epochs from 0.01 with steps.
Expect     Thousands of parameters and million MACs: MobileNet V2 409 and 15.6, ANTNet g=1 452 and 15.7, g=2 392 and
           13.1.
State      Not run; `efficient_small` has a small part of the data.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="ANTNet and MobileNet V2, small",
    models=("mobilenet_v2", "antnet_g1", "antnet_g2"),
    options={"width": 0.35, "input": "cifar"},
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=30),
        batch_size=128,
    ),
    seeds=3,
)
