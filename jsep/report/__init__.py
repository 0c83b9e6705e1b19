"""Figures and pages: the report of a comparison, the picture of a decomposition. It only draws."""

from jsep.report.layers import save_layers
from jsep.report.page import write_report

__all__ = ["save_layers", "write_report"]
