"""DiCENet, ShuffleNet V2 and MobileNet V2 on ImageNet.

Source     Mehta, Hajishirzi, Rastegari, arXiv 1906.03516. Accuracies of DiCENet are from the authors' EdgeNets, those
           of ShuffleNet V2 from its authors' repository, that of MobileNet V2 from arXiv 1801.04381.
Command    jsep compare dicenet --models dicenet_x0_5 dicenet_x0_75 dicenet_x1_0 shufflenet_v2_x0_5 --crop-area 0.2
           jsep compare dicenet --models dicenet_x1_5 dicenet_x2_0 shufflenet_v2_x1_0 mobilenet_v2
               --out runs/dicenet-wide
Recipe     The authors': SGD with momentum 0.9, weight decay 4e-5, batch 512, 120 epochs, flips, random resized crops
           (the default for streamed images), and their saw-tooth schedule from 0.5 to 0.1. For networks below 80 M MACs
           they crop at least 20 % of the area instead of 8 %.
Expect     ImageNet top-1 and million MACs, as published:
           dicenet_x0_5        54.04 %   24.7     dicenet_x0_75        62.80 %   46.8     dicenet_x1_0   66.45 %   70.7
           dicenet_x1_5        69.51 %  135.5     dicenet_x2_0         70.99 %  236.3
           shufflenet_v2_x0_5  61.1 %    41       shufflenet_v2_x1_0   69.4 %   146       mobilenet_v2   72.0 %   300
State      Not run at this size; `efficient_small` has a small form.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="DiCENet, ShuffleNet V2, MobileNet V2",
    models=(
        "dicenet_x0_5",
        "dicenet_x0_75",
        "dicenet_x1_0",
        "dicenet_x1_5",
        "dicenet_x2_0",
        "shufflenet_v2_x0_5",
        "shufflenet_v2_x1_0",
        "mobilenet_v2",
    ),
    recipe=Recipe(
        data=Data("imagenet2012", normalize="imagenet"),
        augment=Augmentation(flip=True),
        optimizer=Optimizer("sgd", weight_decay=4e-5),
        schedule=Schedule("saw_tooth", lr=0.5, epochs=120),
        batch_size=512,
    ),
)
