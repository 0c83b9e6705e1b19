"""Efficient convolutional networks in JAX and Flax."""

from jsep.models import create_model, list_models, model_info

__version__ = "0.2.0"

__all__ = ["create_model", "list_models", "model_info"]
