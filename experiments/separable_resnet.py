"""SResNet: the 3x3 of every bottleneck of ResNet-164 becomes depthwise separable.

Source     A thesis on depthwise separable networks, of which only the abstract is known: SResNet has 53 % of the
           parameters. How it is built, trained and how accurate it is, is not known: sresnet164 is reconstructed.
Command    jsep compare experiments/separable_resnet.py
           On 4,000 images of CIFAR-10 and two CPU cores, 29 layers deep (results/separable_small.csv):
           jsep compare experiments/separable_resnet.py --data PATH/cifar10_lossless5k/1.0.0 --options depth=29
               --epochs 40 --batch-size 64 --lr 0.05 --schedule cosine --seeds 2
Recipe     He et al., arXiv 1512.03385, section 4.2, as fb.resnet.torch runs it: SGD with momentum 0.9, weight decay
           1e-4, batch 128, 0.1 divided by 10 at epochs 81 and 122 of 164, crop and flip. (Ours has Nesterov momentum.)
Expect     Parameters 1,661,274 and 909,306: printed in millions 1.7 and 0.9, hence 53 %. MACs 242.4 M and 133.8 M.
           No accuracy was published for either network as it stands here; for its pre-activation sister preresnet164
           (`jsep show preresnet164`) 5.46 % error on CIFAR-10.
State      At full depth on CIFAR-10: not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="ResNet and SResNet of bottlenecks",
    models=("resnet164", "sresnet164"),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.1, epochs=164, milestones=(81 / 164, 122 / 164)),
        batch_size=128,
    ),
)
