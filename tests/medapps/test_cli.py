"""The command line: exit codes, one sentence for what is wrong, and no traceback unless asked."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from medapps import cli
from medapps.apps.demo import Demo, DemoPart
from medapps.metrics import Estimate
from tests.medapps.small_data import small_data


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `medapps ...`."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, out, err


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    arrays = {}
    for name, split in small_data().splits():
        arrays |= {f"{name}_images": split.images[:, 0], f"{name}_labels": split.labels}
    np.savez(tmp_path / "small.npz", **arrays)
    return tmp_path / "small.npz"


@pytest.mark.parametrize(
    "verb",
    [
        "",
        "demo",
        "inspect",
        "train",
        "train classify",
        "train diagnose",
        "tune",
        "evaluate",
        "predict",
        "report",
        "doctor",
    ],
)
def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = run(capsys, *verb.split(), "--help")
    assert code == 0
    assert "Usage: medapps" in out


HEAVY = ("numpy", "minidl", "numba", "pydicom", "scipy", "matplotlib", "PIL", "rich", "jinja2")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom medapps.cli import main\n"
        "try: main(['train', 'classify', '--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"


OUT = "-o {tmp}/run"
BAD = {
    "missing data": f"train classify {{tmp}}/no.npz {OUT}",
    "wrong kind": f"train classify {{tmp}}/text.txt {OUT}",
    "truncated data": f"train classify {{tmp}}/broken.npz {OUT}",
    "labels out of range": f"train classify {{tmp}}/labels.npz {OUT}",
    "a single, empty class": f"train classify {{tmp}}/classes {OUT}",
    "empty folder": f"train classify {{tmp}}/empty {OUT}",
    "resume of nothing": f"train classify {{tmp}}/no.npz {OUT} --resume",
    "bad recipe": f"train classify {{tmp}}/no.npz {OUT} --recipe {{tmp}}/text.txt",
    "bad number": f"train classify {{tmp}}/no.npz {OUT} --lr -1",
    "not a number": f"train classify {{tmp}}/no.npz {OUT} --epochs many",
    "no data to diagnose": f"train diagnose {{tmp}}/no.npz {OUT}",
    "no such pooling": f"train diagnose {{tmp}}/good.npz {OUT} --pooling median",
    "no such healthy class": f"train diagnose {{tmp}}/good.npz {OUT} --healthy cat",
    "impossible sensitivity": f"train diagnose {{tmp}}/good.npz {OUT} --sensitivity 2",
    "no model": "predict {tmp}/broken.png -m {tmp}/no.safetensors",
    "damaged model": "predict {tmp}/broken.png -m {tmp}/broken.safetensors",
    "broken picture": "inspect {tmp}/broken.png",
    "unknown picture": "inspect {tmp}/text.txt",
    "no such thing": "inspect {tmp}/nothing",
    "no run": "evaluate {tmp}/empty",
    "unknown option": "doctor --fast",
    "unknown verb": "diagnose",
}


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of files that are not what they should be."""
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "broken.safetensors").write_bytes(b"\x00" * 20)
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes" / "cat").mkdir(parents=True)
    np.savez(tmp_path / "good.npz", train_images=np.zeros((20, 8, 8), np.uint8), train_labels=np.arange(20) % 2)
    np.savez(tmp_path / "labels.npz", train_images=np.zeros((3, 8, 8), np.uint8), train_labels=np.array([0, 5, -1]))
    return tmp_path


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_code_2(case: str, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *BAD[case].format(tmp=bad).split())
    assert code == 2
    assert out == ""
    assert err.startswith("medapps: ")
    assert err.count("\n") == 1
    assert not (bad / "run").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="there is no such file"):
        cli.main(["inspect", str(tmp_path / "nothing"), "--debug"])


QUICK = ("--epochs", "2", "--batch-size", "16", "--no-evaluate")


def test_training_and_predicting_from_the_command_line(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "train", "classify", npz, "-o", tmp_path / "run", *QUICK)
    assert code == 0
    assert "best epoch" in out
    assert "not for diagnosis" in out
    assert err.count("epoch ") == 2  # not a terminal: a plain line an epoch
    code, out, _ = run(capsys, "predict", npz, "-m", tmp_path / "run", "-o", tmp_path / "out.csv")
    assert code == 0
    assert "96 classified, 0 refused" in out
    assert "not for diagnosis" in (tmp_path / "out.csv").read_text()


def test_diagnosing_from_the_command_line(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "train", "diagnose", npz, "-o", tmp_path / "run", *QUICK[:-1], "--image-size", "10")
    assert code == 0
    for words in ("test, patients", "image accuracy", "class 1: sensitivity", "not referred: coverage", "report:"):
        assert words in out
    code, out, _ = run(capsys, "predict", npz, "-m", tmp_path / "run", "--explain", tmp_path / "maps")
    assert code == 0
    assert "96 patients decided about, 0 refused" in out
    assert "not for diagnosis" in out
    assert len(list((tmp_path / "maps").iterdir())) == 96
    code, out, _ = run(capsys, "inspect", tmp_path / "run")
    assert "about patients: mean of the images, temperature" in out


def test_demo_prints_one_table_of_its_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_in(folder: Path, seed: int, **_: Any) -> Demo:
        figures = {"tissue": Estimate(0.8, 0.7, 0.9, 1000, "-"), "organs": Estimate(0.75, 0.7, 0.8, 60, "-")}
        parts = [DemoPart(n, folder / n, Mock(), ("accuracy", e), 40.4) for n, e in figures.items()]
        return Demo(folder, folder / "report.html", tuple(parts))

    monkeypatch.setattr("medapps.apps.demo.demo", stand_in)
    code, out, _ = run(capsys, "demo", "-o", tmp_path / "demo")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:3]] == [
        ["tissue,", "accuracy", "0.8000", "0.7000", "to", "0.9000", "1000"],
        ["organs,", "accuracy", "0.7500", "0.7000", "to", "0.8000", "60"],
    ]
    assert "81 s of CPU time" in out
    assert "synthetic" in out
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in out


def test_predict_leaves_with_2_if_any_file_failed(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "train", "classify", npz, "-o", tmp_path / "run", *QUICK)
    code, out, err = run(capsys, "predict", npz, tmp_path / "no.png", "-m", tmp_path / "run")
    assert code == 2
    assert "96 classified, 1 refused" in out
    assert err.count("\n") == 1


def test_a_full_disk_is_one_sentence(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run(capsys, "train", "classify", npz, "-o", tmp_path / "run", *QUICK)
    assert code == 2
    assert "No space left on device" in err
    assert err.count("\n") == 1
    assert list((tmp_path / "run").iterdir()) == []


def test_ctrl_c_leaves_a_run_that_can_be_resumed(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "medapps", "train", "classify", npz, "-o", tmp_path / "run", "--epochs", "5000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "run" / "history.json").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in err.splitlines()[-1]
    assert "Traceback" not in err
    code, out, _ = run(capsys, "inspect", tmp_path / "run")
    assert code == 0
    assert "of 5000" in out


def test_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    for line in ("python", "numba", "threads", "kernel cache", "GPU", "DICOM JPEG 2000"):
        assert any(row.startswith(line) for row in out.splitlines()), line


def test_inspect_names_classes_and_counts(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", npz)
    assert code == 0
    assert "48 images: class 0 24, class 1 24" in out
