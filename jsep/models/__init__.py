"""The zoo: one file a family. `create_model` by name, `list_models` by wildcard."""

from jsep.models import densenet, mobilenet_v1, separable_cnn, shufflenet_v2  # they register their names
from jsep.models.registry import ModelInfo, create_model, list_models, model_info, parse_options

__all__ = [
    "ModelInfo",
    "create_model",
    "densenet",
    "list_models",
    "mobilenet_v1",
    "model_info",
    "parse_options",
    "separable_cnn",
    "shufflenet_v2",
]
