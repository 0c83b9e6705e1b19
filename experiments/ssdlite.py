"""SSDLite over MobileNet V1, V2 and V3, on COCO.

Source     Sandler et al., arXiv 1801.04381, Table 6; Howard et al., arXiv 1905.02244, Table 6; torchvision's recipe.
Command    jsep compare ssdlite --data PATH/coco
Recipe     torchvision's for ssdlite320_mobilenet_v3_large: SGD with momentum 0.9, a cosine from 0.15 to zero over 660
           epochs, batch 192, weight decay 4e-5, flips and IoU crops, pixels from -1 to 1, from random weights.
Expect     COCO AP in %: of ssdlite320 with torchvision's weights, on val2017: 21.3.
           Of the papers' own detectors, in TensorFlow, on test-dev, which are other networks than ours in their heads,
           and so not figures to match (parameters and MACs of the paper; in brackets of ours with 80 classes):
           MobileNet V1         22.2   5.1 M   1.3 G   [5.23 M, 1.36 G]
           MobileNet V2         22.1   4.3 M   0.8 G   [4.48 M, 0.85 G]
           MobileNet V2 x0.5    16.6                   [2.79 M, 0.37 G]
           MobileNet V3 large   22.0   4.97 M  0.62 G  [5.03 M, 0.67 G, tail=full]
             its last stage halved  22.0   3.22 M  0.51 G  [3.30 M, 0.56 G]
           MobileNet V3 small   16.0   2.49 M  0.21 G  [2.48 M, 0.23 G, tail=full]
             its last stage halved  16.1   1.77 M  0.16 G  [1.76 M, 0.19 G]
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="SSDLite over MobileNets",
    models=(
        "ssdlite320",
        "ssdlite320 tail=full",
        "ssdlite320 backbone=mobilenet_v3_small",
        "ssdlite320 backbone=mobilenet_v3_small tail=full",
        "ssdlite320 backbone=mobilenet_v2",
        "ssdlite320 backbone=mobilenet_v2_050",
        "ssdlite320 backbone=mobilenet_v1",
    ),
    recipe=Recipe(
        data=Data("./coco", image_size=320, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        augment=Augmentation(flip=True, iou_crop=True),
        optimizer=Optimizer("sgd", weight_decay=4e-5),
        schedule=Schedule("cosine", lr=0.15, epochs=660),
        batch_size=192,
    ),
)
