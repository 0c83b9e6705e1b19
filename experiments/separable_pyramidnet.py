"""PyramidNet-164 and SPyramidNet-164, whose 3x3 convolutions are depthwise separable, on CIFAR-10.

Source     A thesis on depthwise separable networks, of which only the abstract is known: SPyramidNet has 59 % of the
           parameters. spyramidnet164_a48 is reconstructed; its baseline is Han et al., arXiv 1610.02915, Table 4.
Command    jsep compare separable_pyramidnet
           CIFAR-100: --data cifar100 --lr 0.5
Recipe     The paper's: SGD with Nesterov momentum 0.9, weight decay 1e-4, batch 128, learning rate 0.1 (CIFAR-100: 0.5)
           divided by 10 at a half and at three quarters of 300 epochs, He's initialisation, crop and flip.
Expect     Parameters 1,715,442 and 950,154: 1.7 and 1.0 million as printed, hence 59 %. MACs 388.4 M and 213.0 M.
           Error of the baseline in %: CIFAR-10 4.21, CIFAR-100 19.52. Nothing is published for the separable form.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="PyramidNet-164 and SPyramidNet-164, alpha 48",
    models=("pyramidnet164_a48", "spyramidnet164_a48"),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.1, epochs=300, milestones=(0.5, 0.75)),
        batch_size=128,
    ),
)
