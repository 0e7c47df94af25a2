"""Tables cannot steer a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import io

from medapps.apps.tables import columns, csv_text


def test_columns_align() -> None:
    assert columns([["a", "bb"], ["ccc", "d"], ["e"]]) == "a    bb\nccc  d\ne"


def test_no_rows_are_no_text() -> None:
    assert columns([]) == ""


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in columns([["\x1b[31mred"]])


def test_csv_comes_back_and_formulas_are_text() -> None:
    rows = list(csv.reader(io.StringIO(csv_text(["a", "b"], [["x,y", 'q"'], ["=1+1", ""]]))))
    assert rows == [["a", "b"], ["x,y", 'q"'], ["'=1+1", ""]]
