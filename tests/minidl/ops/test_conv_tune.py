"""`minidl tune`: what it measures changes the choice, is kept in one readable file, and counts for this machine."""

from __future__ import annotations

import json

import pytest

import minidl
from minidl.cli import main
from minidl.device import numba_status
from minidl.errors import KernelError
from minidl.ops.conv import times
from minidl.ops.conv.choice import PASSES
from minidl.ops.conv.tune import Measured, Sample, factors_of, measure

SHAPES = (8, 64, 32, 32), (64, 64, 3, 3)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times.forget()
    yield
    times.forget()


def taken(what="forward"):
    return next(iter(minidl.conv_algorithms(*SHAPES, padding=1)[what]))


def test_factors_are_geometric_means() -> None:
    sample = Sample(1, 8, 8, 8)
    rows = [Measured(sample, "forward", "implicit", us, 100.0) for us in (50.0, 200.0, 800.0)]
    assert factors_of(rows) == {"implicit": {"forward": 2.0}}


def test_a_measured_factor_changes_the_choice_and_forgetting_it_changes_it_back() -> None:
    assert taken() == "winograd"
    times.store({"winograd": {"forward": 100.0}})
    assert taken() == "implicit"
    assert taken("weight") == "winograd"
    assert times.forget()
    assert taken() == "winograd"


def test_a_file_of_another_processor_does_not_count() -> None:
    place = times.store({"winograd": {"forward": 100.0}})
    place.write_text(place.read_text().replace('"processor": "', '"processor": "not '))
    times.factors.cache_clear()
    assert times.factors() == {}


@pytest.mark.parametrize("text", ["{", f'{{"format": {times.FORMAT}}}', "[]"])
def test_a_damaged_file_is_named(text) -> None:
    place = times.store({})
    place.write_text(text)
    times.factors.cache_clear()
    with pytest.raises(KernelError, match=r"conv-times\.json cannot be read .*; remove it, or run minidl tune again"):
        times.factors()
    place.unlink()


@pytest.mark.skipif(not numba_status(), reason="Numba is not installed")
def test_every_algorithm_that_can_do_it_is_measured() -> None:
    rows = list(measure((Sample(1, 8, 8, 8),)))
    assert [row.what for row in rows if row.algorithm == "implicit"] == list(PASSES)
    assert {row.algorithm for row in rows} == {"implicit", "direct", "winograd"}
    assert all(row.microseconds > 0 and row.estimated > 0 for row in rows)


def test_the_command_shows_and_forgets(capsys) -> None:
    times.store({"winograd": {"forward": 1.5}})
    assert main(["tune", "--show"]) == 0
    assert "winograd    forward 1.50" in capsys.readouterr().out
    assert json.loads(times.path().read_text())["factors"] == {"winograd": {"forward": 1.5}}
    assert main(["tune", "--forget"]) == 0
    assert main(["tune", "--show"]) == 0
    assert "nothing was measured yet" in capsys.readouterr().out
