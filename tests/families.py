"""A network for classification of each family, one that is traced quickly; tests/models/test_options.py checks them."""

CLASSIFIERS = (
    "addressnet20",
    "addressnet_imagenet",
    "antnet_g1",
    "densenet40_k12",
    "dicenet_x0_2",
    "inception_v3",
    "keras_separable_cnn",
    "mixnet_s",
    "mobilenet_v1_025",
    "mobilenet_v2_050",
    "mobilenet_v3_small",
    "pyramidnet110_a48",
    "resnet18",
    "resnet20",
    "separable_cnn",
    "shufflenet_v2_x0_5",
    "vgg16_bn",
    "xception",
)
