"""Carrying PyTorch weights over to Flax, strictly, and comparing the outputs of both networks."""

from jsep.port.convert import from_torch
from jsep.port.parity import TOLERANCE, Difference, build_pair, compare_with_torch
from jsep.port.read import read_state

__all__ = ["TOLERANCE", "Difference", "build_pair", "compare_with_torch", "from_torch", "read_state"]
