"""Counting parameters, multiply-accumulates and FLOPs by layer, and receptive fields by stage."""

from jsep.costs.count import Cost, CostTable, LayerCost, count
from jsep.costs.receptive import StageField, network_score, receptive_fields

__all__ = ["Cost", "CostTable", "LayerCost", "StageField", "count", "network_score", "receptive_fields"]
