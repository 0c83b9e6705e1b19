"""LR-ASPP, DeepLabv3 and DiCENet's decoder on streets, at a size that two CPU cores manage.

Source     Not from a paper. LR-ASPP (arXiv 1905.02244, section 6.4) and DeepLabv3 (arXiv 1706.05587) over MobileNet V3
           large, as in torchvision, and DiCENet at half the width with the decoder of EdgeNets (arXiv 1906.03516).
Command    jsep compare segmentation_small --data PATH/camvid_jpeg/1.0.0 --resume
Recipe     Adam, a cosine from 0.001 to zero over 60 epochs, batch 8, flips, scales from 0.5 to 2, from random weights.
           Pictures of 480x360 are scaled to 256x256, and so are the masks that figures are measured on.
Expect     Nothing is published for these segmenters on CamVid. Other networks, at 480x360 with 11 classes, mIoU in %:
           SegNet 55.6 and ENet 51.3 (from memory), a third party's ENet 52.1 (its README). They saw more pixels.
           With 11 classes at 256x256, thousands of parameters and million MACs: LR-ASPP 3220 and 493, DeepLabv3 11023
           and 2457, DiCENet 72 and 62.
State      LR-ASPP run with one seed: mIoU 45.1 %, pixels 83.7 %, flat over the last ten epochs. The others not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="Segmenters on streets",
    models=("lraspp", "deeplabv3_mobilenet_v3", "dicenet_segmentation_x0_5"),
    recipe=Recipe(
        data=Data("./camvid", image_size=256, train_split="train", eval_split="test", void=11),
        augment=Augmentation(flip=True, scale=(0.5, 2.0)),
        optimizer=Optimizer("adam"),
        schedule=Schedule("cosine", lr=1e-3, epochs=60),
        batch_size=8,
    ),
    seeds=2,
)
