"""The registered networks: one row a name.

A row says which family a name builds, the options it fixes, and what is known of it, see `jsep.models.register`. Rows
of a family share what stands in the `partial` above them. The counts are exact, and tests count them anew.
"""

from functools import partial

from jsep.models.registry import CIFAR10, CIFAR100, COCO, FED_CAFFE, FED_HALVES, FED_IMAGENET, IMAGENET, VOC, register

# only abstracts could be read of both works on kernel sharing
SHARING_PAPER = "Zhou, Chen, Zhang, Fang: Efficient Weighted Kernel Sharing CNNs (2018)"
# padding and epsilon of networks whose weights come from TensorFlow
TENSORFLOW = {"padding": "SAME", "epsilon": 1e-3}
KERAS = {"keras": FED_HALVES}  # what all weights of keras.applications for these networks were fed
TIMM_V3 = {"epsilon": 1e-5}  # timm's own MobileNet V3

# fmt: off

# Regular, half separable and separable CNN
_separable_cnn = partial(register, family="jsep.models.separable_cnn:SeparableCNN",
    paper="MU-PING/Depthwise-separable-CNN (repository, 2022)", data=CIFAR10._replace(normalization="unit"),
    certainty="certain")
_separable_cnn("regular_cnn", summary='Six dense convolutions: "RegularConv".', params=5_154_890, macs=2_911_937_152,
    published={"CIFAR-10 accuracy, epoch 150": "0.8626", "best CIFAR-10 accuracy": "0.8835 (epoch 133)",
               "time of 150 epochs, s": "8231.417", "FLOPs of a batch of 256, e11": "14.914"})
_separable_cnn("both_cnn", summary='Every second convolution depthwise separable: "BothConv".',
    options={"separable": (2, 4, 6)}, params=2_410_442, macs=627_229_312,
    published={"CIFAR-10 accuracy, epoch 150": "0.8390", "best CIFAR-10 accuracy": "0.8710 (epoch 115)",
               "time of 150 epochs, s": "4225.260", "FLOPs of a batch of 256, e11": "3.217"})
_separable_cnn("separable_cnn", summary='All six convolutions depthwise separable: "SeparableConv".',
    options={"separable": (1, 2, 3, 4, 5, 6)}, params=1_094_373, macs=330_788_480,
    published={"CIFAR-10 accuracy, epoch 150": "0.8158", "best CIFAR-10 accuracy": "0.8158 (epoch 150)",
               "time of 150 epochs, s": "4415.708", "FLOPs of a batch of 256, e11": "1.699"})
register("keras_separable_cnn", family="jsep.models.separable_cnn:KerasSeparableCNN",
    summary="Six separable convolutions without padding, global pooling, one hidden layer.",
    params=38_949, macs=20_317_676,
    paper="the Keras example of a separable network (64x64 input)",
    data=CIFAR10._replace(input_shape=(64, 64, 3), normalization="unit"), certainty="certain")

# MobileNet V1
_mobilenet_v1 = partial(register, family="jsep.models.mobilenet_v1:MobileNetV1", paper="arXiv 1704.04861",
    data=IMAGENET, certainty="certain", fed={"timm": FED_HALVES} | KERAS)
_mobilenet_v1("mobilenet_v1", summary="MobileNet V1 at full width.", params=4_231_976, macs=568_740_352,
    published={"ImageNet top-1, %": "70.6", "MACs": "569 M", "parameters": "4.2 M"},
    references={"pytorchcv:mobilenet_w1": {}, "timm:mobilenetv1_100": {"act": "relu6"},
                "timm:mobilenetv1_100/tf": {"act": "relu6"} | TENSORFLOW,
                "timm:mobilenetv1_125": {"act": "relu6", "width": 1.25}})
_mobilenet_v1("mobilenet_v1_075", summary="MobileNet V1 at three quarters of the width.",
    options={"width": 0.75}, params=2_585_560, macs=325_400_448,
    published={"ImageNet top-1, %": "68.4", "MACs": "325 M", "parameters": "2.6 M"},
    references={"pytorchcv:mobilenet_w3d4": {}})
_mobilenet_v1("mobilenet_v1_050", summary="MobileNet V1 at half the width.",
    options={"width": 0.5}, params=1_331_592, macs=149_497_088,
    published={"ImageNet top-1, %": "63.7", "MACs": "149 M", "parameters": "1.3 M"},
    references={"pytorchcv:mobilenet_wd2": {}})
_mobilenet_v1("mobilenet_v1_025", summary="MobileNet V1 at a quarter of the width.",
    options={"width": 0.25}, params=470_072, macs=41_030_272,
    published={"ImageNet top-1, %": "50.6", "MACs": "41 M", "parameters": "0.5 M"},
    references={"pytorchcv:mobilenet_wd4": {}})
_mobilenet_v1("mobilenet_v1_full_conv", summary="MobileNet V1's shape with dense convolutions.",
    options={"conv": "dense"}, params=29_294_088, macs=4_867_293_184,
    published={"ImageNet top-1, %": "71.7", "MACs": "4866 M", "parameters": "29.3 M"})
_mobilenet_v1("mobilenet_v1_shallow", summary="MobileNet V1 without the five blocks of 512 features at stride 1.",
    options={"shallow": True}, params=2_887_976, macs=307_323_392,
    published={"ImageNet top-1, %": "65.3", "MACs": "307 M", "parameters": "2.9 M"})
_mobilenet_v1("mobilenet_v1_wksc4",
    summary="MobileNet V1, four weighted input channels to a depthwise separable kernel.",
    options={"conv": "wksc_separable", "sharing": 4}, params=1_841_328, macs=154_142_336, paper=SHARING_PAPER,
    certainty="reconstructed")

# MobileNet V2
_mobilenet_v2 = partial(register, family="jsep.models.mobilenet_v2:MobileNetV2", paper="arXiv 1801.04381",
    data=IMAGENET, certainty="certain", fed=KERAS)
_mobilenet_v2("mobilenet_v2", summary="MobileNet V2 at full width.", params=3_504_872, macs=300_774_272,
    published={"ImageNet top-1, %": "72.0", "MACs": "300 M", "parameters": "3.4 M"},
    references={"torchvision:mobilenet_v2": {}, "timm:mobilenetv2_100": {},
                "timm:mobilenetv2_100/tf": TENSORFLOW})
_mobilenet_v2("mobilenet_v2_140", summary="MobileNet V2 at 1.4 times the width.",
    options={"width": 1.4}, params=6_108_776, macs=582_195_824,
    published={"ImageNet top-1, %": "74.7", "MACs": "585 M", "parameters": "6.9 M"},
    references={"timm:mobilenetv2_140": {}})
_mobilenet_v2("mobilenet_v2_050", summary="MobileNet V2 at half the width.",
    options={"width": 0.5}, params=1_968_680, macs=97_131_840,
    published={"ImageNet top-1, %": "65.4", "MACs": "97 M", "parameters": "1.95 M"},
    references={"timm:mobilenetv2_050": {}})
_mobilenet_v2("eca_mobilenet_v2", summary="MobileNet V2 with efficient channel attention, kernels as released.",
    options={"attention": "eca"}, params=3_504_903, macs=300_777_952, paper="arXiv 1910.03151",
    published={"ImageNet top-1 / top-5, %": "72.56 / 90.81"})
_mobilenet_v2("se_mobilenet_v2", summary="MobileNet V2 with squeeze and excitation at the end of each block.",
    options={"attention": "se"}, params=3_561_800, macs=300_831_200, paper="arXiv 1910.03151",
    certainty="reconstructed")

# MobileNet V3
_mobilenet_v3 = partial(register, family="jsep.models.mobilenet_v3:MobileNetV3", paper="arXiv 1905.02244",
    data=IMAGENET, certainty="certain", fed=KERAS)
_mobilenet_v3("mobilenet_v3_large", summary="MobileNet V3 large.", params=5_483_032, macs=216_589_760,
    published={"ImageNet top-1, %": "75.2", "MACs": "219 M", "parameters": "5.4 M"},
    references={"torchvision:mobilenet_v3_large": {}, "timm:mobilenetv3_large_100": TIMM_V3,
                "timm:tf_mobilenetv3_large_100": TENSORFLOW,
                "timm:tf_mobilenetv3_large_075": {"width": 0.75} | TENSORFLOW})
_mobilenet_v3("mobilenet_v3_small", summary="MobileNet V3 small.",
    options={"size": "small"}, params=2_542_856, macs=56_510_400,
    published={"ImageNet top-1, % (from memory)": "67.4", "MACs": "56 M", "parameters": "2.5 M"},
    references={"torchvision:mobilenet_v3_small": {}, "timm:mobilenetv3_small_100": TIMM_V3,
                "timm:mobilenetv3_small_075": {"width": 0.75} | TIMM_V3,
                "timm:mobilenetv3_small_050": {"width": 0.5} | TIMM_V3,
                "timm:tf_mobilenetv3_small_100": TENSORFLOW,
                "timm:tf_mobilenetv3_small_075": {"width": 0.75} | TENSORFLOW})

# ANTNet
_antnet = partial(register, family="jsep.models.antnet:ANTNet", paper="arXiv 1904.03775", data=IMAGENET,
    certainty="third-party")
_antnet("antnet_g1", summary="ANTNet with ungrouped projections.", params=3_828_039, macs=301_089_984)
_antnet("antnet_g2", summary="ANTNet with projections in two groups.",
    options={"groups": 2}, params=3_346_439, macs=242_032_832,
    published={"ImageNet top-1, % (the model is g=2 by its compute)": "72.8"})

# MixNet
_mixnet = partial(register, family="jsep.models.mixnet:MixNet", paper="arXiv 1907.09595", data=IMAGENET,
    certainty="certain")
_mixnet("mixnet_s", summary="MixNet, small.", params=4_134_606, macs=239_173_360,
    published={"ImageNet top-1, % (from memory)": "75.8", "parameters": "4.1 M"},
    references={"timm:mixnet_s": {}, "timm:tf_mixnet_s": TENSORFLOW})
_mixnet("mixnet_m", summary="MixNet, medium.", options={"size": "m"}, params=5_014_382, macs=339_172_672,
    published={"ImageNet top-1, % (from memory)": "77.0", "parameters": "5.0 M"},
    references={"timm:mixnet_m": {}, "timm:tf_mixnet_m": TENSORFLOW})
_mixnet("mixnet_l", summary="MixNet, large.", options={"size": "l"}, params=7_329_252, macs=555_251_792,
    published={"ImageNet top-1, %": "78.9", "MACs": "565 M", "parameters": "7.3 M"},
    references={"timm:mixnet_l": {}, "timm:tf_mixnet_l": TENSORFLOW})

# ShuffleNet V2
_shufflenet_v2 = partial(register, family="jsep.models.shufflenet_v2:ShuffleNetV2", paper="arXiv 1807.11164",
    data=IMAGENET, certainty="certain")
_shufflenet_v2("shufflenet_v2_x0_5", summary="ShuffleNet V2 at half the width.",
    options={"width": 0.5}, params=1_366_792, macs=40_476_448,
    published={"ImageNet top-1 error, %": "38.9", "MACs": "41 M", "parameters": "1.4 M"},
    references={"torchvision:shufflenet_v2_x0_5": {}})
_shufflenet_v2("shufflenet_v2_x1_0", summary="ShuffleNet V2 at full width.", params=2_278_604, macs=144_907_992,
    published={"ImageNet top-1 error, %": "30.6", "MACs": "146 M", "parameters": "2.3 M"},
    references={"torchvision:shufflenet_v2_x1_0": {}})
_shufflenet_v2("shufflenet_v2_x1_5", summary="ShuffleNet V2 at one and a half times the width.",
    options={"width": 1.5}, params=3_503_624, macs=295_759_392,
    published={"ImageNet top-1 error, %": "27.4", "MACs": "299 M", "parameters": "3.5 M"},
    references={"torchvision:shufflenet_v2_x1_5": {}})
_shufflenet_v2("shufflenet_v2_x2_0", summary="ShuffleNet V2 at twice the width.",
    options={"width": 2.0}, params=7_393_996, macs=583_253_464,
    published={"ImageNet top-1 error, %": "25.0", "MACs": "591 M", "parameters": "7.4 M"},
    references={"torchvision:shufflenet_v2_x2_0": {}})
_shufflenet_v2("shufflenet_v2_x0_5_expanded",
    summary="ShuffleNet V2 at half the width, each depthwise and 1x1 convolution as one dense 3x3, to be decomposed.",
    options={"width": 0.5, "conv": "dense"}, params=1_913_008, macs=107_296_768, paper="arXiv 1910.09455",
    certainty="reconstructed")
_shufflenet_v2("shufflenet_v2_x1_0_expanded",
    summary="ShuffleNet V2 at full width, each depthwise and 1x1 convolution as one dense 3x3, to be decomposed.",
    options={"conv": "dense"}, params=5_492_120, macs=529_261_248, paper="arXiv 1910.09455", certainty="reconstructed")

# DiCENet
_dicenet = partial(register, family="jsep.models.dicenet:DiCENet", paper="arXiv 1906.03516", data=IMAGENET,
    certainty="certain")
_dicenet("dicenet_x0_2", summary="DiCENet at a fifth of the width.",
    options={"width": 0.2}, params=1_130_704, macs=14_902_464,
    published={"ImageNet top-1 / top-5, %": "46.19 / 70.64", "MACs": "14.90 M"},
    references={"pytorchcv:dicenet_wd5": {}})
_dicenet("dicenet_x0_5", summary="DiCENet at half the width.",
    options={"width": 0.5}, params=1_214_120, macs=24_711_328,
    published={"ImageNet top-1 / top-5, %": "54.04 / 77.42", "MACs": "24.71 M"},
    references={"pytorchcv:dicenet_wd2": {}})
_dicenet("dicenet_x0_75", summary="DiCENet at three quarters of the width.",
    options={"width": 0.75}, params=1_495_676, macs=46_825_936,
    published={"ImageNet top-1 / top-5, %": "62.80 / 84.24", "MACs": "46.83 M"},
    references={"pytorchcv:dicenet_w3d4": {}})
_dicenet("dicenet_x1_0", summary="DiCENet at full width.", params=1_805_604, macs=70_709_744,
    published={"ImageNet top-1 / top-5, %": "66.45 / 86.64", "MACs": "70.71 M"},
    references={"pytorchcv:dicenet_w1": {}})
_dicenet("dicenet_x1_5", summary="DiCENet at one and a half times the width.",
    options={"width": 1.5, "dropout": 0.2}, params=2_652_200, macs=135_479_200,
    published={"ImageNet top-1 / top-5, %": "69.51 / 88.76", "MACs": "135.48 M"},
    references={"pytorchcv:dicenet_w3d2": {}})
_dicenet("dicenet_x2_0", summary="DiCENet at twice the width.",
    options={"width": 2.0, "dropout": 0.2}, params=3_979_044, macs=236_290_928,
    published={"ImageNet top-1 / top-5, %": "70.99 / 89.80", "MACs": "236.29 M"},
    references={"pytorchcv:dicenet_w2": {}})
_dicenet("dicenet_x3_0", summary="DiCENet at three times the width.",
    options={"width": 3.0, "dropout": 0.2}, params=9_363_600, macs=553_824_512,
    published={"ImageNet top-1, % (the width follows from the compute)": "75.1"})

# AddressNet
_addressnet = partial(register, family="jsep.models.addressnet:AddressNet", paper="arXiv 1809.08458", data=CIFAR100,
    certainty="reconstructed")
_addressnet("addressnet20", summary="AddressNet-20 for 32x32 images.", params=81_694, macs=11_121_696)
_addressnet("addressnet32", summary="AddressNet-32 for 32x32 images.",
    options={"depth": 32}, params=139_654, macs=19_084_320)
_addressnet("addressnet44", summary="AddressNet-44 for 32x32 images.",
    options={"depth": 44}, params=197_614, macs=27_046_944)
_addressnet("enhanced_addressnet20", summary="Enhanced AddressNet-20 for 32x32 images.",
    options={"enhanced": True}, params=67_492, macs=8_799_264)
_addressnet("enhanced_addressnet32", summary="Enhanced AddressNet-32 for 32x32 images.",
    options={"depth": 32, "enhanced": True}, params=111_592, macs=14_771_232)
_addressnet("enhanced_addressnet44", summary="Enhanced AddressNet-44 for 32x32 images.",
    options={"depth": 44, "enhanced": True}, params=155_692, macs=20_743_200)
register("addressnet_imagenet", family="jsep.models.addressnet:AddressNetImageNet",
    summary="AddressNet for 224x224 images.",
    params=1_841_968, macs=133_650_432, paper="arXiv 1809.08458", data=IMAGENET, certainty="reconstructed")

# ResNet for 32x32 images
_resnet_cifar = partial(register, family="jsep.models.resnet_cifar:CifarResNet", paper="arXiv 1512.03385", data=CIFAR10,
    certainty="certain", fed={"akamaster": FED_IMAGENET})
_resnet_cifar("resnet20", summary="ResNet-20 for 32x32 images, shortcuts padded.", params=269_722, macs=40_551_040,
    published={"C10 augmented error, %": "8.75 (from memory)"},
    references={"pytorchcv:resnet20_cifar10": {"shortcut": "projection"}})
_resnet_cifar("resnet32", summary="ResNet-32 for 32x32 images, shortcuts padded.",
    options={"depth": 32}, params=464_154, macs=68_862_592,
    published={"C10 augmented error, %": "7.51 (from memory)"})
_resnet_cifar("resnet44", summary="ResNet-44 for 32x32 images, shortcuts padded.",
    options={"depth": 44}, params=658_586, macs=97_174_144,
    published={"C10 augmented error, %": "7.17 (from memory)"})
_resnet_cifar("resnet56", summary="ResNet-56 for 32x32 images, shortcuts padded.",
    options={"depth": 56}, params=853_018, macs=125_485_696,
    published={"C10 augmented error, %": "6.97 (from memory)"},
    references={"pytorchcv:resnet56_cifar10": {"shortcut": "projection"}})
_resnet_cifar("resnet110", summary="ResNet-110 for 32x32 images, shortcuts padded.",
    options={"depth": 110}, params=1_727_962, macs=252_887_680,
    published={"C10 augmented error, %": "6.43 (from memory)"},
    references={"pytorchcv:resnet110_cifar10": {"shortcut": "projection"}})
_resnet_cifar("se_resnet110", summary="ResNet-110 with squeeze and excitation and projection shortcuts.",
    options={"depth": 110, "shortcut": "projection", "attention": "se"}, params=1_744_952, macs=253_161_920,
    references={"pytorchcv:seresnet110_cifar10": {"shortcut": "projection"}})
_resnet_cifar("resnet164", summary="ResNet-164 of bottlenecks for 32x32 images, shortcuts padded.",
    options={"depth": 164, "bottleneck": True}, params=1_661_274, macs=242_403_840,
    references={"pytorchcv:resnet164bn_cifar10": {"shortcut": "projection"}})
_resnet_cifar("preresnet110", summary="Pre-activation ResNet-110 for 32x32 images, projection shortcuts.",
    options={"depth": 110, "preact": True, "shortcut": "projection"}, params=1_730_522, macs=253_149_824,
    paper="arXiv 1603.05027",
    references={"pytorchcv:preresnet110_cifar10": {"shortcut": "projection"}})
_resnet_cifar("preresnet164",
    summary="Pre-activation ResNet-164 of bottlenecks for 32x32 images, projection shortcuts.",
    options={"depth": 164, "bottleneck": True, "preact": True, "shortcut": "projection"}, params=1_703_258,
    macs=247_646_720, paper="arXiv 1603.05027",
    published={"C10 error, %": "11.26", "C10 augmented error, %": "5.46", "C100 error, %": "35.58",
               "C100 augmented error, %": "24.33"},
    references={"pytorchcv:preresnet164bn_cifar10": {"shortcut": "projection"}})
_resnet_cifar("sresnet164",
    summary="SResNet-164: the 3x3 of every bottleneck separable, batch norm and ReLU between its parts.",
    options={"depth": 164, "bottleneck": True, "conv": "separable_bn_relu"}, params=909_306, macs=133_802_496,
    certainty="reconstructed",
    references={"pytorchcv:resnet164bn_cifar10+separable_bn_relu": {"shortcut": "projection"}})

# ResNet for ImageNet
_resnet = partial(register, family="jsep.models.resnet:ResNet", paper="arXiv 1512.03385", data=IMAGENET,
    certainty="certain")
_resnet("resnet18", summary="ResNet-18.", params=11_689_512, macs=1_814_073_344,
    published={"ImageNet top-1, % (torchvision's first weights)": "69.758"},
    references={"torchvision:resnet18": {}, "timm:resnet18": {}})
_resnet("resnet34", summary="ResNet-34.", options={"depth": 34}, params=21_797_672, macs=3_663_761_408,
    published={"ImageNet top-1, % (torchvision's first weights)": "73.314"},
    references={"torchvision:resnet34": {}, "timm:resnet34": {}})
_resnet("resnet50", summary="ResNet-50.", options={"depth": 50}, params=25_557_032, macs=4_089_184_256,
    published={"ImageNet top-1, % (torchvision's first weights)": "76.130"},
    references={"torchvision:resnet50": {}, "timm:resnet50": {}})
_resnet("resnet101", summary="ResNet-101.", options={"depth": 101}, params=44_549_160, macs=7_801_405_440,
    published={"ImageNet top-1, % (torchvision's first weights)": "77.374"},
    references={"torchvision:resnet101": {}, "timm:resnet101": {}})
_resnet("resnet152", summary="ResNet-152.", options={"depth": 152}, params=60_192_808, macs=11_513_626_624,
    published={"ImageNet top-1, % (torchvision's first weights)": "78.312"},
    references={"torchvision:resnet152": {}, "timm:resnet152": {}})
_resnet("eca_resnet18", summary="ResNet-18 with efficient channel attention, kernels as released.",
    options={"attention": "eca"}, params=11_689_556, macs=1_814_085_760, paper="arXiv 1910.03151",
    published={"ImageNet top-1 / top-5, %": "70.92 / 89.93"},
    references={"timm:resnet18/eca": {"attention": "eca", "eca_kernels": "formula"}, "timm:resnet18/released_eca": {}})
_resnet("eca_resnet34", summary="ResNet-34 with efficient channel attention, kernels as released.",
    options={"depth": 34, "attention": "eca"}, params=21_797_744, macs=3_663_781_952, paper="arXiv 1910.03151",
    published={"ImageNet top-1 / top-5, %": "74.21 / 91.83"},
    references={"timm:resnet34/eca": {"attention": "eca", "eca_kernels": "formula"}, "timm:resnet34/released_eca": {}})
_resnet("eca_resnet50", summary="ResNet-50 with efficient channel attention, kernels as released.",
    options={"depth": 50, "attention": "eca"}, params=25_557_112, macs=4_089_270_528, paper="arXiv 1910.03151",
    published={"ImageNet top-1 / top-5, %": "77.42 / 93.62"},
    references={"timm:resnet50/eca": {"attention": "eca", "eca_kernels": "formula"}, "timm:resnet50/released_eca": {}})
_resnet("eca_resnet101", summary="ResNet-101 with efficient channel attention, kernels as released.",
    options={"depth": 101, "attention": "eca"}, params=44_549_317, macs=7_801_574_656, paper="arXiv 1910.03151",
    published={"ImageNet top-1 / top-5, %": "78.65 / 94.34"},
    references={"timm:resnet101/eca": {"attention": "eca", "eca_kernels": "formula"},
                "timm:resnet101/released_eca": {}})
_resnet("eca_resnet152", summary="ResNet-152 with efficient channel attention, kernels as released.",
    options={"depth": 152, "attention": "eca"}, params=60_193_042, macs=11_513_868_544, paper="arXiv 1910.03151",
    published={"ImageNet top-1 / top-5, %": "78.92 / 94.55"},
    references={"timm:resnet152/eca": {"attention": "eca", "eca_kernels": "formula"},
                "timm:resnet152/released_eca": {}})
_resnet("se_resnet18", summary="ResNet-18 with squeeze and excitation without biases.",
    options={"attention": "se"}, params=11_776_552, macs=1_814_160_384, paper="arXiv 1709.01507")
_resnet("se_resnet50", summary="ResNet-50 with squeeze and excitation without biases.",
    options={"depth": 50, "attention": "se"}, params=28_071_976, macs=4_091_699_200, paper="arXiv 1709.01507",
    references={"timm:seresnet50": {"se_bias": True}})
_resnet_sharing = partial(_resnet, paper=SHARING_PAPER, certainty="reconstructed")
_resnet_sharing("resnet18_ksc4", summary="ResNet-18, four input channels to a 3x3 kernel.",
    options={"conv": "ksc", "sharing": 4}, params=3_450_408, macs=556_863_488)
_resnet_sharing("resnet18_wksc4", summary="ResNet-18, four weighted input channels to a 3x3 kernel.",
    options={"conv": "wksc", "sharing": 4}, params=3_453_800, macs=558_544_384)
_resnet_sharing("resnet18_wksc8", summary="ResNet-18, eight weighted input channels to a 3x3 kernel.",
    options={"conv": "wksc", "sharing": 8}, params=2_080_616, macs=349_009_408)

# DenseNet for 32x32 images
_densenet = partial(register, family="jsep.models.densenet:DenseNet", paper="arXiv 1608.06993", data=CIFAR10,
    certainty="certain")
_densenet("densenet40_k12", summary="DenseNet of 40 layers, growth 12.", params=1_019_722, macs=264_812_928,
    published={"C10 error, %": "7.00", "C10 augmented error, %": "5.24", "C100 error, %": "27.55",
               "C100 augmented error, %": "24.42", "SVHN error, %": "1.79"},
    references={"pytorchcv:densenet40_k12_cifar10": {"stem": 24, "compression": 0.5}})
_densenet("densenet100_k12", summary="DenseNet of 100 layers, growth 12.",
    options={"depth": 100}, params=6_979_642, macs=1_769_516_448,
    published={"C10 error, %": "5.77", "C10 augmented error, %": "4.10", "C100 error, %": "23.79",
               "C100 augmented error, %": "20.20", "SVHN error, %": "1.67"},
    references={"pytorchcv:densenet100_k12_cifar10": {"stem": 24, "compression": 0.5}})
_densenet("densenet100_k12_bc", summary="DenseNet-BC of 100 layers, growth 12.",
    options={"depth": 100, "bottleneck": True, "compression": 0.5}, params=769_162, macs=287_929_692,
    published={"C10 error, %": "5.92", "C10 augmented error, %": "4.51", "C100 error, %": "24.15",
               "C100 augmented error, %": "22.27", "SVHN error, %": "1.76"},
    references={"pytorchcv:densenet100_k12_bc_cifar10": {}})
_densenet("densenet250_k24_bc", summary="DenseNet-BC of 250 layers, growth 24.",
    options={"depth": 250, "growth": 24, "bottleneck": True, "compression": 0.5}, params=15_324_406, macs=5_418_785_724,
    published={"C10 error, %": "5.19", "C10 augmented error, %": "3.62", "C100 error, %": "19.64",
               "C100 augmented error, %": "17.60", "SVHN error, %": "1.74"},
    references={"pytorchcv:densenet250_k24_bc_cifar10": {}})
_densenet("densenet190_k40_bc", summary="DenseNet-BC of 190 layers, growth 40.",
    options={"depth": 190, "growth": 40, "bottleneck": True, "compression": 0.5}, params=25_624_430, macs=9_301_945_740,
    published={"C10 augmented error, %": "3.46", "C100 augmented error, %": "17.18"},
    references={"pytorchcv:densenet190_k40_bc_cifar10": {}})
_densenet("sdensenet100_k12_bc",
    summary="SDenseNet-BC of 100 layers: the 3x3 of every layer separable, batch norm between its parts.",
    options={"depth": 100, "bottleneck": True, "compression": 0.5, "conv": "separable_bn"}, params=573_322,
    macs=198_128_988, certainty="reconstructed",
    references={"pytorchcv:densenet100_k12_bc_cifar10+separable_bn": {}})
_densenet("se_sdensenet100_k12_bc",
    summary="SDenseNet-BC of 100 layers with squeeze and excitation on the maps that each layer adds.",
    options={"depth": 100, "bottleneck": True, "compression": 0.5, "conv": "separable_bn", "attention": "se"},
    params=575_098, macs=198_130_140, certainty="reconstructed")

# PyramidNet for 32x32 images
_pyramidnet = partial(register, family="jsep.models.pyramidnet:PyramidNet", paper="arXiv 1610.02915", data=CIFAR10,
    certainty="certain")
_pyramidnet("pyramidnet110_a48", summary="PyramidNet-110 of basic units, alpha 48.", params=1_772_706, macs=403_813_504,
    published={"C10 augmented error, %": "4.62", "C100 augmented error, %": "23.31"},
    references={"pytorchcv:pyramidnet110_a48_cifar10": {}})
_pyramidnet("pyramidnet110_a84", summary="PyramidNet-110 of basic units, alpha 84.",
    options={"alpha": 84}, params=3_904_446, macs=772_168_168,
    published={"C10 augmented error, %": "4.27", "C100 augmented error, %": "20.21"},
    references={"pytorchcv:pyramidnet110_a84_cifar10": {}})
_pyramidnet("pyramidnet110_a270", summary="PyramidNet-110 of basic units, alpha 270.",
    options={"alpha": 270}, params=28_485_477, macs=4_717_983_724,
    published={"C10 augmented error, %": "3.73", "C100 augmented error, %": "18.25"},
    references={"pytorchcv:pyramidnet110_a270_cifar10": {}})
_pyramidnet("pyramidnet164_a48", summary="PyramidNet-164 of bottlenecks, alpha 48.",
    options={"depth": 164, "bottleneck": True}, params=1_715_442, macs=388_433_920,
    published={"C10 augmented error, %": "4.21", "C100 augmented error, %": "19.52"},
    references={"pytorchcv:pyramidnet164_a48_bn_cifar10": {}})
_pyramidnet("pyramidnet164_a270", summary="PyramidNet-164 of bottlenecks, alpha 270.",
    options={"depth": 164, "alpha": 270, "bottleneck": True}, params=27_216_021, macs=4_569_837_040,
    published={"C10 augmented error, %": "3.48", "C100 augmented error, %": "17.01"},
    references={"pytorchcv:pyramidnet164_a270_bn_cifar10": {}})
_pyramidnet("spyramidnet164_a48",
    summary="SPyramidNet-164: the 3x3 of every bottleneck separable, batch norm and ReLU between its parts.",
    options={"depth": 164, "bottleneck": True, "conv": "separable_bn_relu"}, params=950_154, macs=212_975_104,
    certainty="reconstructed",
    references={"pytorchcv:pyramidnet164_a48_bn_cifar10+separable_bn_relu": {}})

# VGG for 32x32 images
_vgg = partial(register, family="jsep.models.vgg:VGG", paper="arXiv 1409.1556", data=CIFAR100, certainty="certain")
_vgg("vgg16_bn", summary="VGG-16 with batch norm for 32x32 images.", params=14_770_212, macs=313_247_744)
_vgg_sharing = partial(_vgg, paper=SHARING_PAPER, certainty="reconstructed")
_vgg_sharing("vgg16_ksc2", summary="VGG-16 with batch norm, two input channels to a kernel.",
    options={"conv": "ksc", "sharing": 2}, params=7_415_844, macs=157_534_208)
_vgg_sharing("vgg16_ksc4", summary="VGG-16 with batch norm, four input channels to a kernel.",
    options={"conv": "ksc", "sharing": 4}, params=3_738_660, macs=79_677_440)
_vgg_sharing("vgg16_wksc4", summary="VGG-16 with batch norm, four weighted input channels to a kernel.",
    options={"conv": "wksc", "sharing": 4}, params=3_742_372, macs=79_859_712)
_vgg_sharing("vgg16_wksc8", summary="VGG-16 with batch norm, eight weighted input channels to a kernel.",
    options={"conv": "wksc", "sharing": 8}, params=1_903_780, macs=40_931_328)
_vgg_sharing("vgg16_wksc_ds4",
    summary="VGG-16 with batch norm, four weighted input channels to a depthwise separable kernel.",
    options={"conv": "wksc_separable", "sharing": 4}, params=482_116, macs=11_063_808)
_vgg_sharing("vgg16_ds", summary="VGG-16 with batch norm, depthwise separable.",
    options={"conv": "separable"}, params=1_729_188, macs=38_064_128)

# Inception V3
register("inception_v3", family="jsep.models.inception_v3:InceptionV3",
    summary="Inception V3 without its auxiliary head.",
    params=23_834_568, macs=5_713_216_096,
    paper="arXiv 1512.00567", data=IMAGENET._replace(input_shape=(299, 299, 3)), certainty="certain",
    published={"ImageNet top-1, % (as measured in arXiv 1610.02357)": "78.2"},
    references={"torchvision:inception_v3": {}, "timm:inception_v3": {}},
    fed={"torchvision": FED_HALVES, "timm": FED_HALVES} | KERAS)

# Xception
register("xception", family="jsep.models.xception:Xception", summary="Xception.",
    params=22_855_952, macs=8_357_403_496,
    paper="arXiv 1610.02357", data=IMAGENET._replace(input_shape=(299, 299, 3)), certainty="certain",
    published={"ImageNet top-1, %": "79.0", "ImageNet top-5, %": "94.5", "parameters": "22,855,952"},
    references={"pytorchcv:xception": {}, "timm:legacy_xception": {}}, fed={"timm": FED_HALVES} | KERAS)

# Detectors
_detector = partial(register, data=COCO, certainty="certain", task="detection")
_detector("ssdlite320", family="jsep.models.ssdlite:SSDLite",
    summary="SSDLite over MobileNet V3 large with half of its last stage.", params=3_440_060, macs=583_171_904,
    paper="arXiv 1801.04381", published={"COCO AP, % (torchvision's weights)": "21.3"},
    references={"torchvision:ssdlite320_mobilenet_v3_large": {},
                "torchvision:ssdlite320_mobilenet_v3_large/full": {"tail": "full"}}, fed={"torchvision": FED_HALVES})
_detector("ssd300", family="jsep.models.ssd:SSD",
    summary="SSD over MobileNet V1.", params=16_111_842, macs=3_859_087_808,
    paper="arXiv 1512.02325", data=COCO._replace(input_shape=(300, 300, 3)), certainty="reconstructed")
_detector("ssd300_vgg16", family="jsep.models.ssd:SSD",
    summary="SSD over VGG-16.", options={"backbone": "vgg16"}, params=35_641_826, macs=34_858_153_472,
    paper="arXiv 1512.02325", data=COCO._replace(input_shape=(300, 300, 3)),
    published={"COCO AP, % (torchvision's weights)": "25.1"}, references={"torchvision:ssd300_vgg16": {}},
    fed={"torchvision": FED_CAFFE})
_dicenet_ssd = partial(_detector, family="jsep.models.dicenet_ssd:DiCENetSSD", paper="arXiv 1906.03516",
    data=COCO._replace(input_shape=(300, 300, 3), num_classes=81), certainty="reconstructed")
_dicenet_ssd("dicenet_ssd_x0_75", summary="DiCENet at three quarters of the width with its decoder for SSD.",
    options={"backbone": "dicenet_x0_75"}, params=6_097_415, macs=281_652_317)
_dicenet_ssd("dicenet_ssd_x1_0", summary="DiCENet at full width with its decoder for SSD.",
    params=6_700_623, macs=390_201_525)
_dicenet_ssd("dicenet_ssd_x1_5", summary="DiCENet at one and a half times the width with its decoder for SSD.",
    options={"backbone": "dicenet_x1_5"}, params=8_189_939, macs=655_542_941)
_dicenet_ssd("dicenet_ssd_x2_0", summary="DiCENet at twice the width with its decoder for SSD.",
    options={"backbone": "dicenet_x2_0"}, params=10_336_508, macs=1_033_118_741)
_retinanet = partial(_detector, family="jsep.models.retinanet:RetinaNet", paper="arXiv 1708.02002",
    data=COCO._replace(input_shape=(800, 800, 3)))
_retinanet("retinanet", summary="RetinaNet over ResNet-50 with constant batch norms.",
    params=34_014_999, macs=151_540_437_248, published={"COCO AP, % (torchvision's weights)": "36.4"},
    references={"torchvision:retinanet_resnet50_fpn": {}})
_retinanet("retinanet_v2", summary="RetinaNet over ResNet-50 with group norms in its heads.",
    options={"version": 2, "frozen_norm": False}, params=38_198_935, macs=152_238_199_040,
    published={"COCO AP, % (torchvision's weights)": "41.5"}, references={"torchvision:retinanet_resnet50_fpn_v2": {}})
# Segmentation
_segmentation = partial(register, data=VOC, certainty="certain", task="segmentation")
_segmentation("lraspp", family="jsep.models.lraspp:LRASPP", summary="LR-ASPP over MobileNet V3 large.",
    paper="arXiv 1905.02244", params=3_221_538, macs=2_086_219_688,
    published={"VOC classes on COCO, mIoU / pixel accuracy, % (torchvision's weights)": "57.9 / 91.2"},
    references={"torchvision:lraspp_mobilenet_v3_large": {}})
_deeplabv3 = partial(_segmentation, family="jsep.models.deeplabv3:DeepLabV3", paper="arXiv 1706.05587")
_deeplabv3("deeplabv3", summary="DeepLabv3 over ResNet-50.", options={"backbone": "resnet50", "output_stride": 8},
    params=39_638_869, macs=168_731_205_888,
    published={"VOC classes on COCO, mIoU / pixel accuracy, % (torchvision's weights)": "66.4 / 92.4"},
    references={"torchvision:deeplabv3_resnet50": {}})
_deeplabv3("deeplabv3_mobilenet_v3", summary="DeepLabv3 over MobileNet V3 large.",
    params=11_025_477, macs=10_436_350_688,
    published={"VOC classes on COCO, mIoU / pixel accuracy, % (torchvision's weights)": "60.3 / 91.2"},
    references={"torchvision:deeplabv3_mobilenet_v3_large": {}})
_segmentation("fcn", family="jsep.models.fcn:FCN", summary="FCN over ResNet-50.", paper="arXiv 1411.4038",
    options={"backbone": "resnet50", "output_stride": 8}, params=32_957_013, macs=142_725_772_800,
    published={"VOC classes on COCO, mIoU / pixel accuracy, % (torchvision's weights)": "60.5 / 91.4"},
    references={"torchvision:fcn_resnet50": {}})
_dicenet_segmentation = partial(_segmentation, family="jsep.models.dicenet_segmentation:DiCENetSegmentation",
    paper="arXiv 1906.03516", data=VOC._replace(input_shape=(256, 256, 3)))
_dicenet_segmentation("dicenet_segmentation_x0_2", summary="DiCENet at a fifth of the width with its decoder.",
    options={"width": 0.2}, params=46_927, macs=60_810_808,
    published={"VOC mIoU at 256 / 384 pixels, %": "33.77 / 34.52"})
_dicenet_segmentation("dicenet_segmentation_x0_5", summary="DiCENet at half the width with its decoder.",
    options={"width": 0.5}, params=76_359, macs=82_162_488,
    published={"VOC mIoU at 256 / 384 pixels, %": "42.48 / 47.74"})
_dicenet_segmentation("dicenet_segmentation_x0_75",
    summary="DiCENet at three quarters of the width with its decoder.",
    options={"width": 0.75}, params=189_663, macs=127_055_412,
    published={"VOC mIoU at 256 / 384 pixels, %": "49.52 / 55.67"})
_dicenet_segmentation("dicenet_segmentation_x1_0", summary="DiCENet at full width with its decoder.",
    params=283_387, macs=141_369_424,
    published={"VOC mIoU at 256 / 384 pixels, %": "54.31 / 60.23"})
_dicenet_segmentation("dicenet_segmentation_x1_25",
    summary="DiCENet at one and a quarter times the width with its decoder.",
    options={"width": 1.25}, params=389_415, macs=155_220_024,
    published={"VOC mIoU at 256 / 384 pixels, %": "57.59 / 62.55"})
_dicenet_segmentation("dicenet_segmentation_x1_75",
    summary="DiCENet at one and three quarters times the width with its decoder.",
    options={"width": 1.75}, params=807_951, macs=289_794_648,
    published={"VOC mIoU at 256 / 384 pixels, %": "58.39 / 64.76"})
