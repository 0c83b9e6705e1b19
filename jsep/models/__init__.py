"""The zoo of networks: `create_model` by name, `list_models` by wildcard, `register` for your own.

Importing it needs neither JAX nor Flax: rows of networks are in `jsep.models.zoo`, and a family's module is imported
when a network of it is built.
"""

from jsep.models import zoo  # noqa: F401 (it registers the names)
from jsep.models.registry import (
    CIFAR10,
    CIFAR100,
    COCO,
    IMAGENET,
    VOC,
    Images,
    ModelInfo,
    Task,
    create_model,
    format_options,
    list_models,
    model_info,
    option,
    parse_options,
    register,
)

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "COCO",
    "IMAGENET",
    "VOC",
    "Images",
    "ModelInfo",
    "Task",
    "create_model",
    "format_options",
    "list_models",
    "model_info",
    "option",
    "parse_options",
    "register",
]
