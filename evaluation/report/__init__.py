"""A self-contained HTML report: no scripts, nothing loaded from anywhere, every text escaped."""

from evaluation.report.report import render_report, write_report

__all__ = ["render_report", "write_report"]
