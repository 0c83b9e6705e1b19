"""ResNet-50 without attention, with squeeze and excitation, and with efficient channel attention, on ImageNet.

Source     Wang et al., arXiv 1910.03151, Table 2, and the table in its authors' repository.
Command    jsep compare channel_attention --data-dir PATH
           Other depths: --models resnet18 se_resnet18 eca_resnet18; resnet101 eca_resnet101; ...
           MobileNet V2: --models mobilenet_v2 se_mobilenet_v2 eca_mobilenet_v2 --lr 0.045 --weight-decay 4e-5
               --batch-size 96 --epochs 400 --schedule exponential --decay 0.98 --decay-epochs 1
Recipe     The authors': SGD with momentum 0.9, weight decay 1e-4, batch 256, learning rate 0.1 divided by 10 every 30
           of 100 epochs, random resized crops (the default for streamed images) and flips.
Expect     ImageNet top-1 / top-5 in %: eca_resnet50 77.42 / 93.62 in the repository, 77.48 / 93.68 in the paper.
           From memory: se_resnet50 76.71 / 93.38, resnet50 75.20 / 92.52.
           Parameters: eca_resnet50 25,557,112, of which attention has 80; se_resnet50 28,071,976; resnet50 25,557,032.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="Channel attention in ResNet-50",
    models=("resnet50", "se_resnet50", "eca_resnet50"),
    recipe=Recipe(
        data=Data("imagenet2012"),
        augment=Augmentation(flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.1, epochs=100, milestones=(0.3, 0.6, 0.9)),
        batch_size=256,
        dtype="bfloat16",
    ),
)
