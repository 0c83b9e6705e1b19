"""DenseNet-BC and SDenseNet-BC, whose 3x3 convolutions are depthwise separable, on CIFAR-10.

Source     A thesis on depthwise separable networks, of which only the abstract is known: SDenseNet has 75 % of the
           parameters. sdensenet100_k12_bc is reconstructed; its baseline is Huang et al., arXiv 1608.06993, Table 2.
Command    jsep compare separable_densenet
           SVHN: --data svhn_cropped_extra --normalize unit --epochs 40 --crop 0 --no-flip --options dropout=0.2
           CIFAR-10 without augmentation: --crop 0 --no-flip --options dropout=0.2
           On 4,000 images of CIFAR-10 and two CPU cores, 40 layers deep (results/separable_small.csv):
           jsep compare separable_densenet --data PATH/cifar10_lossless5k/1.0.0 --options depth=40 --epochs 30
               --schedule cosine --seeds 2
Recipe     The paper's: SGD with Nesterov momentum 0.9, weight decay 1e-4, batch 64, learning rate 0.1 divided by 10 at
           a half and at three quarters of 300 epochs (40 on SVHN), He's initialisation, dropout 0.2 only without
           augmentation.
Expect     Parameters 769,162 and 573,322: 0.8 and 0.6 million as printed, hence 75 %. MACs 287.9 M and 198.1 M.
           Error of the baseline in %: CIFAR-10 5.92, augmented 4.51; CIFAR-100 24.15, augmented 22.27; SVHN 1.76.
           Nothing is published for the separable form.
State      Not run at full depth on CIFAR and SVHN.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="DenseNet-BC and SDenseNet-BC, growth 12",
    models=("densenet100_k12_bc", "sdensenet100_k12_bc"),
    recipe=Recipe(
        data=Data("cifar10"),
        augment=Augmentation(crop=4, flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.1, epochs=300, milestones=(0.5, 0.75)),
        batch_size=64,
    ),
)
