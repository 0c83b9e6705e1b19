"""SDenseNet of 40 layers with squeeze and excitation, and with another order of operations.

Source     The questions of densenet_attention.py and densenet_order.py, at a depth that two CPU cores manage.
Command    jsep compare sdensenet_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     As in separable_families_small.py. Of the five places of the gates two, and of the six orders the usual one
           and the likeliest reading of the thesis.
Expect     Thousands of parameters: 102.7; with gates 103.3 (growth) and 105.7 (trans); in the other order 100.5. 38.7
           million MACs each. No accuracy is known.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="SDenseNet-BC-40: squeeze and excitation, order of operations",
    models=(
        "sdensenet100_k12_bc",
        "sdensenet100_k12_bc attention=se attention_at=growth",
        "sdensenet100_k12_bc attention=se attention_at=trans",
        "sdensenet100_k12_bc order=ReLU-Conv-BN-ReLU-Conv-BN",
    ),
    options={"depth": 40},
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=20),
        batch_size=128,
    ),
    seeds=3,
)
