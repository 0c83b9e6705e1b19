"""Exporting trained networks to files that other programs run, each checked against the network in JAX."""

from jsep.export.agreement import TOLERANCE
from jsep.export.int8 import Int8Report, Ranges
from jsep.export.run import FORMATS, Report, export_run

__all__ = ["FORMATS", "TOLERANCE", "Int8Report", "Ranges", "Report", "export_run"]
