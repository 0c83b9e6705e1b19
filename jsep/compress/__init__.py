"""Compressing trained networks: dense convolutions decomposed into cheaper ones, batch norms folded."""

from jsep.compress.decompose import LayerResult, Options, decompose
from jsep.compress.fold import apply_folded, fold_batch_norms
from jsep.compress.plan import Method, Site, find_sites, load_plan, make_plan, save_plan
from jsep.compress.statistics import renew_statistics

__all__ = [
    "LayerResult",
    "Method",
    "Options",
    "Site",
    "apply_folded",
    "decompose",
    "find_sites",
    "fold_batch_norms",
    "load_plan",
    "make_plan",
    "renew_statistics",
    "save_plan",
]
