"""DiCENet with its decoder at six widths, on masks of Pascal VOC's classes.

Source     Mehta, Hajishirzi, Rastegari, arXiv 1906.03516; the networks are those of their EdgeNets (sacmehta/EdgeNets).
Command    jsep compare dicenet_segmentation --data PATH/voc
           Then with constant norms at 384x384: jsep train NETWORK --init RUN --image-size 384 --lr 0.005
Recipe     The authors': SGD with momentum 0.9, 100 epochs at 256x256 with a learning rate of 0.009, then as many at
           384x384 with 0.005. Here it is a cosine; they have cycles up to epoch 61, then a linear decrease.
           Batch, weight decay and augmentation are ours.
Expect     mIoU in % on VOC 2012 val, by the README of EdgeNets, which nobody else has confirmed, at 256x256
           and 384x384; and exact parameters with 21 classes:
           dicenet_segmentation_x0_2    33.77  34.52   46,927     dicenet_segmentation_x0_5    42.48  47.74   76,359
           dicenet_segmentation_x0_75   49.52  55.67  189,663     dicenet_segmentation_x1_0    54.31  60.23  283,387
           dicenet_segmentation_x1_25   57.59  62.55  389,415     dicenet_segmentation_x1_75   58.39  64.76  807,951
           Cityscapes at 1024x512, likewise: 53.4 (x0.5), 58.7 (x0.75), 60.9 (x1), 61.1 (x1.25), 63.4 (x1.75).
State      Not run. With the authors' trained weights, `studies/dicenet_segmentation.py` measures what their code does.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="DiCENet with its decoder",
    models=(
        "dicenet_segmentation_x0_2",
        "dicenet_segmentation_x0_5",
        "dicenet_segmentation_x0_75",
        "dicenet_segmentation_x1_0",
        "dicenet_segmentation_x1_25",
        "dicenet_segmentation_x1_75",
    ),
    recipe=Recipe(
        data=Data("./voc", image_size=256, normalize="imagenet"),
        augment=Augmentation(flip=True, scale=(0.5, 2.0)),
        optimizer=Optimizer("sgd", weight_decay=4e-5),
        schedule=Schedule("cosine", lr=0.009, epochs=100),
        batch_size=32,
    ),
)
