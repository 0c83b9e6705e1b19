"""Xception against Inception V3, which has as many parameters.

Source     Chollet, arXiv 1610.02357, Tables 1 and 3.
Command    jsep compare experiments/xception.py --models xception --data-dir PATH
           jsep compare experiments/xception.py --models inception_v3 --weight-decay 4e-5 --data-dir PATH
           The variants without shortcuts, and with an activation between the depthwise and the pointwise part (Figures
           9 and 10, which print no numbers):
           jsep compare experiments/xception.py --data-dir PATH --models "xception residual=False"
               "xception inner_activation=relu" "xception inner_activation=elu"
Recipe     SGD with momentum 0.9, 0.045 multiplied by 0.94 every 2 epochs, weight decay 1e-5 (Inception V3: 4e-5),
           dropout 0.5. The number of epochs is not given ("about 3 days" on 60 K80). The paper evaluates an average of
           the weights over the run, and augments as Inception does. Streamed images get Inception's crops; the average
           is left to --ema.
Expect                    top-1   top-5   parameters
           xception       79.0    94.5    22,855,952
           inception_v3   78.2    94.1    23,626,728 by the paper; 23,834,568 as torchvision has it and as counted here
           JFT (350 M images that are not public; FastEval14k MAP@100): 6.70 and 6.36, with two dense layers of 4096
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
