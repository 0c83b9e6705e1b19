"""SSDLite over three backbones on blood cells, at a size that two CPU cores manage.

Source     Not from a paper. The heads of SSDLite (arXiv 1801.04381, section 6.2) over MobileNet V3 large with half of
           its last stage, as in torchvision, over ShuffleNet V2 and over MobileNet V2 at half the width.
Command    jsep compare detection_small --data PATH/bccd/1.0.0 --resume
Recipe     Adam, a cosine from 0.001 to zero over 100 epochs, batch 16, flips, IoU crops and jitter, from random
           weights. The smallest default boxes have a tenth of the image's side, since a platelet has a twelfth.
           Different from torchvision's for COCO: SGD, a cosine from 0.15 over 660 epochs of batch 192, decay 4e-5.
Expect     Nothing is published for these detectors on these 364 pictures of three classes. From memory: other detectors
           of usual size reach an AP50 of about 90 %.
           With three classes, thousands of parameters and million MACs: 2234 and 409 (MobileNet V3), 1093 and 123
           (ShuffleNet V2), 1535 and 251 (MobileNet V2).
State      ShuffleNet V2, two seeds, begun with the backbone that FastestDet was trained with on COCO (--init,
           studies/shufflenet_orders.py), 60 epochs: AP50 86.9 and 87.1 %, AP 54.2 and 55.1 %. MobileNet V3, begun with
           a classifier of CIFAR-10 at 64 pixels: AP50 85.8 and 85.4 %, AP 52.8 and 52.0 %.
           Not run to its end from random weights. ShuffleNet V2 alone with a rate of 0.002, smallest=0.08, 100 epochs:
           AP50 61.4 %, platelets 17, RBC 69, WBC 98 %. With boxes from 0.2: platelets 2 %. With flips alone it
           overfits: 59.0 % after 52 epochs.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="SSDLite on blood cells",
    models=(
        "ssdlite320 smallest=0.1",
        "ssdlite320 backbone=shufflenet_v2_x0_5 smallest=0.1",
        "ssdlite320 backbone=mobilenet_v2_050 smallest=0.1",
    ),
    recipe=Recipe(
        data=Data("./bccd", image_size=320, train_split="train+val", eval_split="test"),
        augment=Augmentation(flip=True, iou_crop=True, jitter=0.2),
        optimizer=Optimizer("adam"),
        schedule=Schedule("cosine", lr=1e-3, epochs=100),
        batch_size=16,
    ),
    seeds=2,
)
