"""Efficient convolutional networks in JAX and Flax."""

from typing import TYPE_CHECKING, Any

from jsep.models import create_model, list_models, model_info

if TYPE_CHECKING:
    from jsep.runs.loading import load

__version__ = "0.2.0"

__all__ = ["create_model", "list_models", "load", "model_info"]


def __getattr__(name: str) -> Any:
    """Import `load` when it is first used, since it takes a second to import what it needs."""
    if name == "load":
        from jsep.runs.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
