"""State, step, devices, loop, checkpoints: everything between an experiment's config and its results."""

from jsep.train.config import Comparison, Recipe, RunConfig
from jsep.train.loop import adopt, evaluate_run, train

__all__ = [
    "Comparison",
    "Recipe",
    "RunConfig",
    "adopt",
    "evaluate_run",
    "train",
]
