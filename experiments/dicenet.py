"""DiCENet against ShuffleNet V2 and MobileNet V2 on ImageNet.

Source     Mehta, Hajishirzi, Rastegari, arXiv 1906.03516; accuracies of DiCENet from the authors' EdgeNets, of
           ShuffleNet V2 from its authors' repository, of MobileNet V2 from arXiv 1801.04381.
Command    jsep compare experiments/dicenet.py
Recipe     The authors': SGD with momentum 0.9, weight decay 4e-5, batch 512, 120 epochs, flip, random
           resized crops (as streamed sets have them), and their saw-tooth of 0.5 to 0.1. Another: they cropped at least
           20 % of the area for networks below 80 M MACs, here it is 8 % for all.
Expect     ImageNet top-1 and million MACs, as published:
           dicenet_x0_5        54.04 %   24.7     dicenet_x0_75        62.80 %   46.8     dicenet_x1_0   66.45 %   70.7
           dicenet_x1_5        69.51 %  135.5     dicenet_x2_0         70.99 %  236.3
           shufflenet_v2_x0_5  61.1 %    41       shufflenet_v2_x1_0   69.4 %   146       mobilenet_v2   72.0 %   300
State      Not run at this size; small forms in `efficient_small.py`.
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
