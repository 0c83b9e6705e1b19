"""MobileNet V1 at four widths and four resolutions, on ImageNet.

Source     Howard et al., arXiv 1704.04861, Tables 6 (width) and 7 (resolution).
Command    jsep compare mobilenet_v1_width --data-dir PATH
           The other rows of Table 7: --models mobilenet_v1 --image-size 192 (160, 128)
           On 4,000 images of CIFAR-10 and two CPU cores (results/separable_small.csv):
           jsep compare mobilenet_v1_width --models mobilenet_v1_025 --options input=cifar
               --data PATH/cifar10_lossless5k/1.0.0 --crop 4 --flip --optimizer sgd --lr 0.05 --weight-decay 1e-4
               --schedule cosine --epochs 80 --batch-size 64 --dtype float32 --seeds 2
Recipe     RMSprop as TF-slim publishes it: learning rate 0.045 multiplied by 0.94 every 2.5 epochs, weight decay 4e-5.
           The paper itself says only RMSprop, with little or no decay on depthwise kernels; here all parameters decay.
Expect     ImageNet top-1 in %, MACs and parameters as the paper prints them, and exact parameters:
           width 1.0   70.6   569 M   4.2 M   4,231,976      resolution 224   70.6   569 M
           width 0.75  68.4   325 M   2.6 M   2,585,560      resolution 192   69.1   418 M
           width 0.5   63.7   149 M   1.3 M   1,331,592      resolution 160   67.2   290 M
           width 0.25  50.6    41 M   0.5 M     470,072      resolution 128   64.4   186 M
State      Not run on ImageNet.
"""

from jsep.runs.comparison import Comparison
from jsep.train import Augmentation, Data, Optimizer, Recipe, Schedule

experiment = Comparison(
    title="MobileNet V1 by width",
    models=("mobilenet_v1", "mobilenet_v1_075", "mobilenet_v1_050", "mobilenet_v1_025"),
    recipe=Recipe(
        data=Data("imagenet2012"),
        augment=Augmentation(flip=True),
        optimizer=Optimizer("rmsprop_tf", weight_decay=4e-5),
        schedule=Schedule("exponential", lr=0.045, epochs=100, decay=0.94, decay_epochs=2.5),
        batch_size=256,
        dtype="bfloat16",
    ),
)
