"""The report: one HTML file that shows what a run is worth, what it cost and what it cannot tell."""

from medapps.report.write import write_report

__all__ = ["write_report"]
