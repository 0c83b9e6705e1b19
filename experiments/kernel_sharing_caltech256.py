"""ResNet-18 with kernels shared by input channels, on Caltech-256.

Source     H. Zhou's thesis (NTUST, 2018), of which we could read only the abstract; it names Caltech-256. The networks,
           the groups and the recipe are reconstructed. 60 training images per class, as is usual for this data set.
Command    jsep compare kernel_sharing_caltech256
           First put the archive 256_ObjectCategories.tar into downloads/manual of --data-dir; jsep prepares it.
Recipe     SGD with Nesterov momentum 0.9, weight decay 5e-4, batch 128, a cosine from 0.05 to zero over 100 epochs,
           images of 128x128, crop and flip.
Expect     Parameters with ImageNet's 1000 classes: resnet18 11,689,512; resnet18_ksc4 3,450,408; resnet18_wksc4
           3,453,800; resnet18_wksc8 2,080,616. No accuracy is known.
State      Not run, since the archive cannot be distributed here. The path from archive to training is tested on a tiny
           one.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="ResNet-18 with shared kernels, Caltech-256",
    models=("resnet18", "resnet18_ksc4", "resnet18_wksc4", "resnet18_wksc8"),
    recipe=Recipe(
        data=Data("caltech256"),
        augment=Augmentation(crop=16, flip=True),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("cosine", lr=0.05, epochs=100),
        batch_size=128,
    ),
)
