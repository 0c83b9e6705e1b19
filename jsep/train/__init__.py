"""Training: recipes, the training state, steps, devices and the loop. Run folders belong to `jsep.runs`."""

from jsep.data import Augmentation, Data
from jsep.train.recipe import Objective, Optimizer, Recipe, RunConfig, Schedule

__all__ = ["Augmentation", "Data", "Objective", "Optimizer", "Recipe", "RunConfig", "Schedule"]
