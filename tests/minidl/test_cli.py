"""The `minidl` command: tidy facts, warm kernels, one sentence when something is wrong."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from minidl import __version__, cli
from minidl.device import numba_status, use_numba

needs_numba = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")

ROOM = """
from minidl.device import kernel
@kernel("T[::1]", T=("float32", "float64"))
def negate(begin, end, out):
    for i in range(begin, end):
        out[i] = -out[i]
"""


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "minidl" / "kernels"


def only(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Hide all kernels but those of `module`: the test would compile minidl's own for a minute."""
    from minidl.device import warmup

    every = warmup.specialisations
    monkeypatch.setattr(
        warmup, "specialisations", lambda: [(k, c) for k, c in every() if k.py_func.__module__ == module]
    )


def plugin(arguments: Sequence[str]) -> int:
    """Say hello."""
    print("hello", *arguments)
    return 3


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert "info       Say what this machine offers" in printed
    assert "warmup     Compile all kernels now" in printed


def test_python_m_minidl_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "minidl", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_an_unknown_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["brew"]) == 2
    assert capsys.readouterr().err == "minidl: there is no command 'brew'; known: info, tune, warmup\n"


def test_commands_of_other_packages_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = EntryPoint("greet", "tests.minidl.test_cli:plugin", "minidl.commands")
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])
    assert cli.main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you\n"
    cli.main([])
    assert "greet      (added by another package)" in capsys.readouterr().out


def test_info_is_aligned_and_complete(capsys: pytest.CaptureFixture[str], private_cache: Path) -> None:
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9].strip() for line in lines] == [
        *("minidl", "Python", "NumPy", "Numba", "CPU", "threads", "cache", "GPU"),
    ]
    assert f"{private_cache} (0 compiled kernels, 0.0 MiB)" in lines[6]


def test_info_as_json_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["minidl"] == __version__


def test_info_says_why_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert cli.main(["info"]) == 0
    assert "cache    none: /dev/null/nowhere/minidl/kernels cannot be used: " in capsys.readouterr().out


@needs_numba
@pytest.mark.numba
def test_warmup_compiles_in_processes_then_finds_then_clears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], private_cache: Path
) -> None:
    (tmp_path / "room_to_warm.py").write_text(ROOM)
    monkeypatch.syspath_prepend(tmp_path)
    only(monkeypatch, "room_to_warm")
    command = ["warmup", "--jobs", "2", "--module", "room_to_warm"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(" ")[2] for line in lines[:2]) == [
        "negate (float32) compiled",
        "negate (float64) compiled",
    ]
    assert lines[2].startswith("2 kernels compiled, 0 found compiled, 0 failed, in ")
    assert lines[3].startswith(f"cache: {private_cache} (2 files, ")
    assert cli.main(command) == 0
    assert "0 kernels compiled, 2 found compiled, 0 failed" in capsys.readouterr().out
    assert cli.main(["warmup", "--clear"]) == 0
    assert capsys.readouterr().out.startswith("removed 2 compiled kernels (0.0 MiB) from ")


@needs_numba
@pytest.mark.numba
def test_warmup_tells_which_kernel_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "room_that_fails.py").write_text(ROOM.replace("-out[i]", "'text'"))
    monkeypatch.syspath_prepend(tmp_path)
    only(monkeypatch, "room_that_fails")
    assert cli.main(["warmup", "--jobs", "1", "--module", "room_that_fails"]) == 1
    printed = capsys.readouterr()
    assert "0 kernels compiled, 0 found compiled, 2 failed" in printed.out
    assert printed.err.startswith("minidl warmup: kernel negate: Numba cannot compile it for (float32[::1]): ")
    assert len(printed.err.splitlines()) == 2


def test_warmup_without_numba_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with use_numba(False):
        assert cli.main(["warmup"]) == 1
    assert capsys.readouterr().err == "minidl warmup: Numba is switched off by use_numba(False)\n"


@needs_numba
def test_warmup_without_a_place_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert cli.main(["warmup"]) == 1
    assert "nothing would be kept, because /dev/null/nowhere/minidl/kernels cannot be used" in capsys.readouterr().err


@needs_numba
def test_warmup_of_a_module_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["warmup", "--module", "nowhere_at_all"]) == 2
    assert capsys.readouterr().err.startswith("minidl warmup: nowhere_at_all cannot be imported: ")
