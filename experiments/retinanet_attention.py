"""RetinaNet over ResNet with and without channel attention, on COCO.

Source     Wang et al., arXiv 1910.03151, Table 5, the rows of RetinaNet; torchvision's recipe.
Command    jsep compare retinanet_attention --data PATH/coco
           With the backbone of a trained classifier, a network at a time:
           jsep train retinanet --options backbone=eca_resnet50 --init runs/eca_resnet50 --data PATH/coco
               --image-size 800
Recipe     torchvision's: SGD with momentum 0.9, learning rate 0.01 divided by 10 after 16 and 22 of 26 epochs, batch
           16, weight decay 1e-4, flips. The paper has mmdetection's recipe, pictures of up to 1333x800 in their own
           aspect ratio, and backbones trained on ImageNet whose norms are constants. Here pictures are 800x800 and, as
           the comparison begins with random weights, norms are trained.
Expect     COCO AP / AP50 / AP75 in %: of retinanet with torchvision's weights, on val2017: AP 36.4.
           In Table 5, of mmdetection's RetinaNet on val2017, with million parameters. It has 80 outputs, other anchors,
           and makes its sixth map of the backbone's last, so it is another network than ours, by 3.7 M parameters:
           ResNet-50    35.6 / 55.5 / 38.2  37.74    + SE  37.1 / 57.2 / 39.9  40.23    + ECA  37.3 / 57.7 / 39.6  37.74
           ResNet-101   37.7 / 57.5 / 40.4  56.74    + SE  38.7 / 59.1 / 41.6  61.45    + ECA  39.1 / 59.9 / 41.8  56.74
           Of ours, as of theirs, attention adds 80 parameters (ECA) or 2.5 M (SE) to ResNet-50.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="Channel attention in RetinaNet",
    models=(
        "retinanet backbone=resnet50",
        "retinanet backbone=se_resnet50",
        "retinanet backbone=eca_resnet50",
        "retinanet backbone=resnet101",
        "retinanet backbone=eca_resnet101",
    ),
    options={"frozen_norm": False},
    recipe=Recipe(
        data=Data("./coco", image_size=800, normalize="imagenet"),
        augment=Augmentation(flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-4),
        schedule=Schedule("step", lr=0.01, epochs=26, milestones=(16 / 26, 22 / 26)),
        batch_size=16,
        dtype="bfloat16",
    ),
    against={"retinanet backbone=eca_resnet101": "retinanet backbone=resnet101"},
)
