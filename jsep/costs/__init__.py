"""Parameters, multiply-accumulates and FLOPs by layer; receptive fields by stage."""

from jsep.costs.count import Cost, Row, Table, count
from jsep.costs.receptive import StageField, network_score, receptive_fields

__all__ = ["Cost", "Row", "StageField", "Table", "count", "network_score", "receptive_fields"]
