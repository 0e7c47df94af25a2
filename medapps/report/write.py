"""write_report: from the files of a run folder to one page that needs nothing else.

The page holds no script and asks for nothing outside itself; a policy in its head says so to the browser. Whatever a
file calls itself is text in it, never markup.
"""

from __future__ import annotations

from pathlib import Path

from medapps.files import write_text
from medapps.report.folder import SegmentationFiles, read_run
from medapps.report.page import build_page
from medapps.report.segmentation_page import build_segmentation_page
from medapps.report.template import render

__all__ = ["write_report"]


def write_report(run_folder: str | Path, *, title: str | None = None) -> Path:
    """Write report.html into a run folder, from what is there; a part whose file is missing says so.

    The same files give the same page.

    Args:
        run_folder: a folder that `medapps train` or `medapps demo` wrote.
        title: heading of the page; the name of the data when None.

    Returns:
        Where the page is.

    Raises:
        InputError: if the folder holds no run, or one of its files is damaged or belongs to another run.
        OutputError: if the page could not be written; an older one is then still there.
    """
    run = read_run(Path(run_folder))
    if isinstance(run, SegmentationFiles):
        name, page = "segmentation.html.jinja", build_segmentation_page(run, title)
    else:
        name, page = "report.html.jinja", build_page(run, title)
    return write_text(run.folder / "report.html", render(name, page))
