"""Parameters, multiply-accumulates and FLOPs by layer."""

from jsep.costs.count import Cost, Row, Table, count

__all__ = ["Cost", "Row", "Table", "count"]
