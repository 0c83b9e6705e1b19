"""Carrying PyTorch weights over to Flax, strictly, and comparing the outputs of both networks."""

from jsep.port.convert import from_torch, port_state
from jsep.port.parity import TOLERANCE, Difference, build_pair, compare_with_torch, compare_with_weights
from jsep.port.read import read_state, read_weights

__all__ = [
    "TOLERANCE",
    "Difference",
    "build_pair",
    "compare_with_torch",
    "compare_with_weights",
    "from_torch",
    "port_state",
    "read_state",
    "read_weights",
]
