"""ResNet, DenseNet and PyramidNet against SResNet, SDenseNet and SPyramidNet, with fewer layers.

Source     The questions of separable_resnet.py, separable_densenet.py and separable_pyramidnet.py: do 53, 75 and 59 %
           of the parameters keep the accuracy? Depths that two CPU cores manage; their shares are 54, 58 and 55 %.
Command    jsep compare separable_families_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 1e-4 and batch 128, as for the deep ones (DenseNet's batch is
           64), and crop and flip. Different from the papers: 29 to 56 layers instead of 100 and 164, 20 epochs instead
           of 164 and 300, and a cosine from 0.1 to zero instead of steps.
Expect     Thousands of parameters and million MACs: ResNet-29 270 and 41.9, SResNet-29 145 and 23.8; ResNet-56 548 and
           82.0, SResNet-56 298 and 45.8; DenseNet-40 176 and 72.4, SDenseNet-40 103 and 38.7; PyramidNet-56 590 and
           138.1, SPyramidNet-56 325 and 76.4.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

PAIRS = {
    "sresnet164 depth=29": "resnet164 depth=29",
    "sresnet164 depth=56": "resnet164 depth=56",
    "sdensenet100_k12_bc depth=40": "densenet100_k12_bc depth=40",
    "spyramidnet164_a48 depth=56": "pyramidnet164_a48 depth=56",
}

experiment = Comparison(
    title="Separable forms of ResNet, DenseNet and PyramidNet",
    models=tuple(network for pair in PAIRS.items() for network in reversed(pair)),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=20),
        batch_size=128,
    ),
    seeds=3,
    against=PAIRS,
)
