"""The grid of convolutions still runs, and counts operations as the definition does; its times decide nothing here."""

from __future__ import annotations

import pytest

from benchmarks.conv_grid import GRID, lines, parsed, rows

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def test_a_shape_is_read_and_its_operations_counted() -> None:
    shape = parsed("8,64,32,31x30,3,s2,p1,g4")
    assert shape.title == "8, 64→32, 31x30, 3x3 p1 s2 g4"
    assert shape.windows == (16, 15)
    assert shape.operations == 2 * 8 * 32 * 16 * 15 * (64 // 4) * 9
    assert parsed("1,2,3,9,5").padding == 2  # keeps the size, unless p says otherwise


def test_every_shape_of_the_grid_has_windows() -> None:
    assert all(min(shape.windows) > 0 for shapes in GRID.values() for shape in shapes)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["1,3,4,6x7,3", "2,4,6,9,3,s2", "1,2,4,5x5x5,3", "1,8,8,6x6,3,g8"])
def test_all_passes_are_timed_beside_pytorch(text) -> None:
    found = list(rows([parsed(text)], ["auto"], ("forward", "input", "weight"), rounds=1, threads=1))
    assert [row["pass"] for row in found] == ["forward", "input", "weight"]
    assert all(row["ms"]["auto"] > 0 and row["rival_ms"] > 0 for row in found)
    assert len(list(lines(iter(found), ["auto"]))) == 2 + 3
