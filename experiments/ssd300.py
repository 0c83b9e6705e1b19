"""SSD at 300x300 over VGG-16 and over MobileNet V1, on COCO.

Source     Howard et al., arXiv 1704.04861, Table 13; Liu et al., arXiv 1512.02325; torchvision's recipe.
Command    jsep compare ssd300 --data PATH/coco
Recipe     torchvision's for ssd300_vgg16: SGD with momentum 0.9, learning rate 0.002 divided by 10 after 80 and 110 of
           120 epochs, batch 32, weight decay 5e-4, flips, IoU crops, zooming out and jitter. It begins with a trained
           VGG-16, which makes the difference of such a short training; this comparison begins with random weights.
Expect     COCO AP in %: of ssd300_vgg16 with torchvision's weights, on val2017: 25.1.
           In Table 13, on COCO minival, with GMACs and million parameters: SSD300 over VGG 21.1, 34.9, 33.1; over
           MobileNet 19.3, 1.2, 6.8. The latter's structure is not published. Ours is reconstructed by SSD's rules and
           larger, 14.9 M parameters and 3.6 G with 80 classes, so the figure is not its own.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="SSD300 over VGG-16 and MobileNet V1",
    models=("ssd300_vgg16", "ssd300"),
    recipe=Recipe(
        data=Data("./coco", image_size=300, normalize="imagenet"),
        augment=Augmentation(flip=True, iou_crop=True, zoom_out=True, jitter=0.5),
        optimizer=Optimizer("sgd", weight_decay=5e-4),
        schedule=Schedule("step", lr=0.002, epochs=120, milestones=(80 / 120, 110 / 120)),
        batch_size=32,
    ),
)
