"""Trained networks as files that other programs run: one file a format, each checked against the live network."""

from jsep.export.run import FORMATS, TOLERANCE, Report, export_run

__all__ = ["FORMATS", "TOLERANCE", "Report", "export_run"]
