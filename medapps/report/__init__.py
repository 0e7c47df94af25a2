"""The report: one HTML file that shows what a run is worth, what it cost and what it cannot tell.

Of several runs, an overview leads to the report of each.
"""

from medapps.report.overview import Part, write_overview
from medapps.report.write import write_report

__all__ = ["Part", "write_overview", "write_report"]
