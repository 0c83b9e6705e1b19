"""The zoo: one file a family. `create_model` by name, `list_models` by wildcard."""

from jsep.models import (  # they register their names
    addressnet,
    antnet,
    densenet,
    dicenet,
    inception_v3,
    mixnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    pyramidnet,
    resnet,
    resnet_cifar,
    separable_cnn,
    shufflenet_v2,
    vgg,
    xception,
)
from jsep.models.registry import ModelInfo, create_model, format_options, list_models, model_info, parse_options
from jsep.models.stage import Stage

__all__ = [
    "ModelInfo",
    "Stage",
    "addressnet",
    "antnet",
    "create_model",
    "densenet",
    "dicenet",
    "format_options",
    "inception_v3",
    "list_models",
    "mixnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "model_info",
    "parse_options",
    "pyramidnet",
    "resnet",
    "resnet_cifar",
    "separable_cnn",
    "shufflenet_v2",
    "vgg",
    "xception",
]
