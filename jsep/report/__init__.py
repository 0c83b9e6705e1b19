"""The report of a comparison: two csv files in, six figures and one HTML page out. The figure of a decomposition."""

from jsep.report.layers import save_layers
from jsep.report.page import write_report
from jsep.report.results import CURVES_CSV, RESULTS_CSV, CurvePoint, Result, read_rows, write_rows

__all__ = [
    "CURVES_CSV",
    "RESULTS_CSV",
    "CurvePoint",
    "Result",
    "read_rows",
    "save_layers",
    "write_report",
    "write_rows",
]
