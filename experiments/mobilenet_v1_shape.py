"""MobileNet V1 with dense convolutions, narrower, and shallower, on ImageNet.

Source     Howard et al., arXiv 1704.04861, Tables 4 (dense or depthwise separable) and 5 (narrow or shallow).
Command    jsep compare mobilenet_v1_shape --data-dir PATH
Recipe     As in mobilenet_v1_width.py.
Expect     ImageNet top-1 in %, MACs and parameters as the paper prints them, and exact parameters:
           mobilenet_v1_full_conv  71.7  4866 M  29.3 M  29,294,088
           mobilenet_v1            70.6   569 M   4.2 M   4,231,976
           mobilenet_v1_075        68.4   325 M   2.6 M   2,585,560
           mobilenet_v1_shallow    65.3   307 M   2.9 M   2,887,976
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="MobileNet V1: dense, separable, narrow and shallow",
    models=("mobilenet_v1_full_conv", "mobilenet_v1", "mobilenet_v1_075", "mobilenet_v1_shallow"),
    recipe=Recipe(
        data=Data("imagenet2012"),
        augment=Augmentation(flip=True),
        optimizer=Optimizer("rmsprop_tf", weight_decay=4e-5),
        schedule=Schedule("exponential", lr=0.045, epochs=100, decay=0.94, decay_epochs=2.5),
        batch_size=256,
        dtype="bfloat16",
    ),
)
