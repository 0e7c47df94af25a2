"""The overview: the headline of every run, a link that moves along, and no run that was not judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from medapps.errors import InputError
from medapps.evaluate_segmentation import SegmentationEvaluation
from medapps.report import Part, write_overview
from tests.medapps.report.fake_segmentation import make_segmentation_run
from tests.medapps.report.test_write import words


def test_a_segmentation_shows_its_best_middle_and_worst_case(tmp_path: Path) -> None:
    run = make_segmentation_run(tmp_path / "all" / "organs")
    page = write_overview(tmp_path / "all", [Part(run, "Organs", "It <b>outlines</b>.", 75.0)], title="One model")
    shown = words(page)
    found = SegmentationEvaluation.from_json((run / "evaluation.json").read_text())
    figure = found.metrics["dice"]
    assert f"{figure.low:.3f} to {figure.high:.3f}" in shown
    assert "1 min 15 s" in shown
    scores = sorted(case.dice for case in found.cases)
    for score in (scores[0], scores[-1]):
        assert f"Dice {score:.3f}" in shown
    assert "&lt;b&gt;" in page.read_text("utf-8")


def test_a_part_must_be_judged_and_inside(tmp_path: Path) -> None:
    run = make_segmentation_run(tmp_path / "elsewhere" / "organs")
    with pytest.raises(InputError, match="does not lie in"):
        write_overview(tmp_path / "all", [Part(run, "Organs", "", 1.0)], title="One model")
    (run / "evaluation.json").unlink()
    with pytest.raises(InputError, match="was not judged yet"):
        write_overview(tmp_path / "elsewhere", [Part(run, "Organs", "", 1.0)], title="One model")
    assert not (tmp_path / "elsewhere" / "report.html").exists()
