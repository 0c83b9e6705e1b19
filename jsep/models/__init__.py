"""The zoo: one file a family. `create_model` by name, `list_models` by wildcard."""

from jsep.models import mobilenet_v1, separable_cnn  # they register their names
from jsep.models.registry import ModelInfo, create_model, list_models, model_info, parse_options

__all__ = ["ModelInfo", "create_model", "list_models", "mobilenet_v1", "model_info", "parse_options", "separable_cnn"]
