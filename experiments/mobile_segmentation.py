"""LR-ASPP and DeepLabv3 over MobileNets, on masks of Pascal VOC's or Cityscapes' classes.

Source     Howard et al., arXiv 1905.02244, Tables 7 and 8; Sandler et al., arXiv 1801.04381, Table 7; torchvision.
Command    jsep compare mobile_segmentation --data PATH/voc
           On Cityscapes: --data PATH/cityscapes --image-size 1024
Recipe     torchvision's, mostly from memory: SGD with momentum 0.9, learning rate 0.01, batch
           32, 30 epochs, weight decay 1e-6, scales from 0.5 to 2 and flips. It decays by a polynomial; here it is a
           cosine. It begins with a trained classifier, and this comparison with random weights.
Expect     mIoU / pixel accuracy in % with torchvision's weights, on COCO's pictures of VOC's classes:
           lraspp 57.9 / 91.2     deeplabv3_mobilenet_v3 60.3 / 91.2     deeplabv3 66.4 / 92.4 (over ResNet-50)
           Of the papers' own segmenters, in TensorFlow, which are other networks than ours and not figures to match:
           V3, Table 7, Cityscapes val, MACs at 1024x2048 (in brackets of ours with 19 classes): LR-ASPP over V3 large
           with its last stage halved 72.36, 1.51 M, 9.74 G [3.22 M, 15.8 G with the whole stage]; 256 features 72.37,
           1.63 M, 10.33 G; over V2 72.74, 0.98 M, 12.57 G [2.55 M, 23.8 G]; over V3 small 68.38, 0.47 M, 2.90 G
           [1.08 M, 5.1 G]. Table 8, test: large 72.6, at stride 32 72.0; small 69.4, 68.3.
           V2, Table 7, VOC 2012 val at 512x512, trained on COCO first: DeepLabv3 over V1 75.29, 11.15 M, 14.25 G; over
           V2 75.70, 4.52 M, 5.8 G [12.65 M, 13.1 G], without its pyramid 75.32, 2.11 M, 2.75 G; ResNet-101 80.49,
           58.16 M, 81.0 G.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="LR-ASPP and DeepLabv3 over MobileNets",
    models=(
        "lraspp",
        "lraspp backbone=mobilenet_v3_small",
        "lraspp backbone=mobilenet_v2",
        "deeplabv3_mobilenet_v3",
        "deeplabv3 backbone=mobilenet_v2 output_stride=16",
    ),
    recipe=Recipe(
        data=Data("./voc", image_size=512, normalize="imagenet"),
        augment=Augmentation(flip=True, scale=(0.5, 2.0)),
        optimizer=Optimizer("sgd", weight_decay=1e-6),
        schedule=Schedule("cosine", lr=0.01, epochs=30),
        batch_size=32,
    ),
)
