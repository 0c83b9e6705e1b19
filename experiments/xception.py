"""Xception and Inception V3, which have about as many parameters, on ImageNet.

Source     Chollet, arXiv 1610.02357, Tables 1 and 3.
Command    jsep compare xception --models xception --data-dir PATH
           jsep compare xception --models inception_v3 --weight-decay 4e-5 --data-dir PATH
           The variants without shortcuts, and with an activation between the depthwise and the pointwise part (Figures
           9 and 10, which print no numbers):
           jsep compare xception --data-dir PATH --models "xception residual=False" "xception inner_activation=relu"
               "xception inner_activation=elu"
Recipe     SGD with momentum 0.9, learning rate 0.045 multiplied by 0.94 every 2 epochs, weight decay 1e-5 (for
           Inception V3 4e-5), dropout 0.5. The paper does not give the number of epochs ("about 3 days" on 60 K80). It
           evaluates an average of the weights, which is --ema here, and augments like Inception: the default for
           streamed images.
Expect                    top-1   top-5   parameters
           xception       79.0    94.5    22,855,952
           inception_v3   78.2    94.1    23,834,568 as in torchvision and as counted here; the paper says 23,626,728
           JFT (350 M images, not public; FastEval14k MAP@100): 6.70 and 6.36, with two dense layers of 4096
           (jft_head=True) 6.78 and 6.50. There: RMSprop, momentum 0.9, 0.001 multiplied by 0.9 every 3 M samples.
State      Not run.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="Xception and Inception V3",
    models=("xception", "inception_v3"),
    recipe=Recipe(
        data=Data("imagenet2012", image_size=299),
        augment=Augmentation(flip=True),
        optimizer=Optimizer("sgd", weight_decay=1e-5),
        schedule=Schedule("exponential", lr=0.045, epochs=120, decay=0.94, decay_epochs=2.0),
        batch_size=256,
        dtype="bfloat16",
    ),
)
