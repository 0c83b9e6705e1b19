"""Figures and pages: the report of a comparison and the figure of a decomposition. Nothing here trains or measures."""

from jsep.report.layers import save_layers
from jsep.report.page import write_report

__all__ = ["save_layers", "write_report"]
