"""DiCENet against ShuffleNet V2, in their forms for 32x32 images.

Source     The question of dicenet.py (arXiv 1906.03516), at a size that two CPU cores manage.
Command    jsep compare dicenet_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 5e-4, batch 128, a cosine from 0.1 to zero over 30 epochs, crop
           and flip. Different from the authors': weight decay 4e-5, and the saw-tooth over 120 epochs of batch 512.
Expect     Thousands of parameters and million MACs: ShuffleNet V2 352 and 10.9 (x0.5), 1264 and 45.0 (x1.0); DiCENet
           197 and 5.8 (x0.5), 479 and 13.1 (x0.75), 789 and 21.0 (x1.0).
State      Not run; `efficient_small` has a small part of the data.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="DiCENet and ShuffleNet V2, small",
    models=("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "dicenet_x0_5", "dicenet_x0_75", "dicenet_x1_0"),
    options={"input": "cifar"},
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=30),
        batch_size=128,
    ),
    seeds=3,
    against={"dicenet_x1_0": "shufflenet_v2_x1_0"},
)
