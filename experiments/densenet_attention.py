"""SDenseNet with squeeze and excitation in different places, on CIFAR-10.

Source     A thesis on depthwise separable networks, of which only the abstract is known: SDenseNet gains from squeeze
           and excitation "without increasing the number of parameters". It does not say where the gates are. Hu et al.,
           arXiv 1709.01507, give no place in DenseNet either.
Command    jsep compare densenet_attention
Recipe     DenseNet's (arXiv 1608.06993), as in separable_densenet.py.
Expect     Parameters: none 573,322; growth 575,098; mid 589,594; trans 590,285; block 605,012; block+trans 609,281.
           All of these print as 0.6 M. Gates on the input of each layer (attention_at=concat, 813,086) would print as
           0.8 M, which rules them out. No accuracy is known. For ResNet-110 and 164, squeeze and excitation reduced the
           error on CIFAR-10 from 6.37 to 5.21 % and from 5.46 to 4.39 % (arXiv 1709.01507, second-hand).
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

PLACES = ("growth", "mid", "trans", "block", "block+trans")

experiment = Comparison(
    title="SDenseNet-BC-100 with squeeze and excitation in five places",
    models=("sdensenet100_k12_bc", *(f"sdensenet100_k12_bc attention=se attention_at={place}" for place in PLACES)),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.1, epochs=300, milestones=(0.5, 0.75)),
        batch_size=64,
    ),
)
