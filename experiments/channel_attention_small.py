"""No attention, squeeze and excitation, and efficient channel attention in ResNet-20, ResNet-56 and MobileNet V2.

Source     The question of channel_attention.py (arXiv 1910.03151), at a size that two CPU cores manage.
Command    jsep compare channel_attention_small --data PATH/cifar10_jpeg/1.0.0 --resume
Recipe     SGD with Nesterov momentum 0.9, weight decay 1e-4, batch 128, a cosine from 0.1 to zero over 30 epochs, crop
           and flip. Different from the paper: networks and data of 32x32 pixels, batch 128 instead of 256, and a cosine
           of 30 epochs instead of 100 epochs with steps.
Expect     Thousands of parameters without, with SE and with ECA: ResNet-20 269.7, 272.1, 269.7; MobileNet V2 at 0.35 of
           the width 408.9, 416.0, 409.0; ResNet-56 853.0, 860.1, 853.1.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

BASES = ("resnet20", "mobilenet_v2 width=0.35 input=cifar", "resnet56")
GATES = ("attention=se", "attention=eca")

experiment = Comparison(
    title="Channel attention on 32x32 images",
    models=tuple(network for base in BASES for network in (base, *(f"{base} {gate}" for gate in GATES))),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("cosine", lr=0.1, epochs=30),
        batch_size=128,
    ),
    seeds=3,
    against={f"{base} {gate}": base for base in BASES for gate in GATES},
)
