"""PyTorch to Flax: weights carried over strictly, and outputs set side by side."""

from jsep.port.check import TOLERANCE, Difference, check, pair
from jsep.port.convert import flat, from_torch
from jsep.port.read import read_state

__all__ = ["TOLERANCE", "Difference", "check", "flat", "from_torch", "pair", "read_state"]
