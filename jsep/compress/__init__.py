"""Compression of trained networks that needs no new network: depth-wise decomposition and its rivals."""

from jsep.compress.decompose import LayerResult, Options, decompose
from jsep.compress.plan import Method, Site, find_sites, load_plan, make_plan, save_plan

__all__ = [
    "LayerResult",
    "Method",
    "Options",
    "Site",
    "decompose",
    "find_sites",
    "load_plan",
    "make_plan",
    "save_plan",
]
