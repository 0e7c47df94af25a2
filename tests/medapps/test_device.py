"""Every application on "cuda": it trains, judges and predicts there as on the CPU, and says so where there is no GPU.

The stand-in for CuPy refuses an array of the host among those of the GPU, so what crosses at another place than
`medapps.device.on` fails. Roundings: the devices add in another order, which is 1e-7 of a float32; after the few steps
that are trained here losses are 1e-8 apart on the stand-in, and a GPU has room for more.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import minidl
from medapps import cli
from medapps.apps.classify import RECIPE, train_classifier
from medapps.apps.diagnose import train_diagnosis
from medapps.apps.evaluate import evaluate_run
from medapps.apps.predict import predict_files
from medapps.apps.predict_patients import predict_patients
from medapps.apps.segment import train_segmenter
from medapps.apps.segment_study import segment_study
from medapps.device import choose_device, device_name, home
from medapps.errors import InputError
from medapps.explain import grad_cam
from medapps.files import read_json
from medapps.fit import Trainer
from medapps.inference import load_model, segment_planes
from medapps.models import build_model
from minidl.core.tape import Call, launching
from minidl.device import cuda_status, device_of, gpu
from minidl.errors import DeviceError
from tests.medapps.small_data import small_data
from tests.medapps.small_masks import small_masks
from tests.minidl.gpu.conftest import stand_in

TOLERANCE = 1e-4  # of a loss, a probability or a heat; see above
PIXELS = 0.05  # of a figure of a mask of 400 pixels, some of which may lie on a tie


@pytest.fixture(params=["stand-in", pytest.param("GPU", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the device."""
    with stand_in() if request.param == "stand-in" else contextlib.nullcontext():
        yield "cuda"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def missing() -> None:
        raise DeviceError("CuPy is not installed")

    monkeypatch.setattr(gpu, "cupy", missing)
    cuda_status.cache_clear()
    yield
    cuda_status.cache_clear()


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Pictures of two classes, three to a patient."""
    arrays: dict[str, Any] = {"class_names": np.array(["flu", "normal"])}
    for name, split in small_data(24).splits():
        order = np.argsort(split.labels, kind="stable")
        arrays |= {f"{name}_images": split.images[order, 0], f"{name}_labels": split.labels[order]}
        arrays[f"{name}_groups"] = np.array([f"{name} {i // 3}" for i in range(len(order))])
    np.savez(tmp_path / "small.npz", **arrays)
    return tmp_path / "small.npz"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Pictures of discs, and one of them as a file of its own."""
    arrays: dict[str, Any] = {"class_names": np.array(["background", "disc"])}
    for name, cases in small_masks(depth=1).splits():
        arrays[f"{name}_images"] = np.stack([case.image.array[0, 0] for case in cases])
        arrays[f"{name}_masks"] = np.stack([case.mask[0] for case in cases])
    np.savez(tmp_path / "masks.npz", **arrays)
    PIL.Image.fromarray(arrays["test_images"][0]).save(tmp_path / "picture.png")
    return tmp_path / "masks.npz"


def classified(data: Path, run: Path, device: str) -> NDArray[Any]:
    made = predict_files(data, run, device=device)
    return np.array([list((each.probabilities or {}).values()) for each in made])


def diagnosed(data: Path, run: Path, device: str) -> NDArray[Any]:
    maps = run / f"maps on {device}"
    made, refused = predict_patients(data, run, device=device, explain=maps)
    assert refused == ()
    assert len(list(maps.iterdir())) == sum(len(each.images) for each in made)
    return np.array([list(each.probabilities.values()) for each in made])


def segmented(data: Path, run: Path, device: str) -> NDArray[Any]:
    return np.array(segment_study(data.with_name("picture.png"), run, device=device).mask.mean())


@dataclass(frozen=True)
class Application:
    """A verb of `medapps train`, how to train by it in a second, and the figures that its model finds."""

    verb: str
    data: str
    train: Callable[..., Any]
    use: Callable[[Path, Path, str], NDArray[Any]]
    settings: dict[str, Any]
    judged: str = "predictions.csv"
    tolerance: float = TOLERANCE

    def predict(self, data: Path, run: Path) -> list[str | Path]:
        """The command that predicts."""
        given = data if self.data == "npz" else data.with_name("picture.png")
        return ["predict", given, "--model", run]


QUICK: dict[str, Any] = {"epochs": 1, "widths": [4, 8], "batch_size": 6}
DISCS: dict[str, Any] = {"epochs": 1, "batch_size": 3, "samples": 6}
RESEG = {**DISCS, "widths": [4], "options": {"patches": [2], "stem": 4}}
APPLICATIONS = {
    "classify": Application("classify", "npz", train_classifier, classified, {**QUICK, "balance": "weights"}),
    "diagnose": Application("diagnose", "npz", train_diagnosis, diagnosed, {**QUICK, "image_size": 10}),
    "ReSeg": Application("segment", "masks", train_segmenter, segmented, RESEG, "cases.csv", PIXELS),
    "U-Net": Application(
        "segment", "masks", train_segmenter, segmented, {**DISCS, "widths": [4, 8], "net": "unet"}, "cases.csv", PIXELS
    ),
}


@pytest.fixture(params=APPLICATIONS)
def app(request: pytest.FixtureRequest) -> Application:
    return APPLICATIONS[request.param]


@pytest.fixture
def data(app: Application, request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(app.data)
    return path


def medapps(*arguments: str | Path) -> int:
    """The exit code of `medapps ...`."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    return int(left.value.code or 0)


def numbers(file: Path) -> list[list[float]]:
    """The figures of a table, row by row; texts are left out."""

    def number(cell: str) -> float | None:
        with contextlib.suppress(ValueError):
            return float(cell)
        return None

    with file.open(newline="") as opened:
        return [[n for cell in row if (n := number(cell)) is not None] for row in csv.reader(opened)]


def test_an_application_finds_on_the_gpu_what_it_finds_on_the_cpu(
    app: Application, data: Path, cuda: str, tmp_path: Path
) -> None:
    run, there = tmp_path / "on the cpu", tmp_path / "on the gpu"
    app.train(data, run, **app.settings)
    ran: list[tuple[str, str]] = []

    def noted(call: Call) -> None:
        first = call.out[0] if isinstance(call.out, tuple) else call.out
        ran.append((device_of(first).type, call.op.name))
        call.run()

    with launching(noted):
        assert medapps("train", app.verb, data, "-o", there, "--recipe", run / "recipe.json", "--device", cuda) == 0
    # The weights are drawn on the CPU, and come back there to be written; nothing is computed on it.
    assert {name for device, name in ran if device == "cpu"} <= {"copy_", "clone"}
    ours, theirs = (read_json(place / "history.json")[0] for place in (run, there))
    for loss in ("train_loss", "val_loss"):
        assert theirs[loss] == pytest.approx(ours[loss], abs=TOLERANCE)
    evaluate_run(run)
    found = numbers(run / app.judged)
    evaluate_run(run, device=cuda)
    for row, again in zip(found, numbers(run / app.judged), strict=True):
        assert again == pytest.approx(row, abs=app.tolerance, nan_ok=True)
    assert app.use(data, run, cuda) == pytest.approx(app.use(data, run, "cpu"), abs=app.tolerance)


def test_a_run_can_go_on_on_another_device(cuda: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=2, widths=(4, 8), batch_size=6)
    moved, here, stayed = (Trainer(recipe, small_data(24), device) for device in (cuda, "cpu", "cpu"))
    for trainer in (moved, stayed):
        trainer.judge(trainer.train_epoch())
    moved.save(tmp_path / "checkpoint.safetensors")
    here.load(tmp_path / "checkpoint.safetensors")
    assert here.train_epoch()["val_loss"] == pytest.approx(stayed.train_epoch()["val_loss"], abs=TOLERANCE)


def test_a_run_notes_where_it_was_trained(npz: Path, cuda: str, tmp_path: Path) -> None:
    for device in ("cpu", cuda, cuda):
        train_classifier(npz, tmp_path / "run", resume=device != "cpu", device=device, **QUICK)
    on_gpu = device_name(choose_device(cuda))
    assert on_gpu.startswith("cuda:0, ")
    assert read_json(tmp_path / "run" / "recipe.json")["devices"] == ["cpu", on_gpu]


def test_windows_and_heat_maps_are_those_of_the_cpu(cuda: str) -> None:
    rng = np.random.default_rng(0)
    unet = build_model({"name": "unet", "in_channels": 1, "classes": 3, "widths": [4, 8]})
    planes = rng.standard_normal((2, 1, 20, 28)).astype(np.float32)
    here = segment_planes(unet, planes, window=16)
    assert segment_planes(unet.to(cuda), planes, window=16) == pytest.approx(here, abs=TOLERANCE)
    cnn = build_model({"name": "residual_cnn", "in_channels": 1, "classes": 2, "widths": [4, 8], "regions": 2})
    heat = grad_cam(cnn, planes[0], 1)
    assert heat.max() > 0.5
    assert grad_cam(cnn.to(cuda), planes[0], 1) == pytest.approx(heat, abs=TOLERANCE)


def test_auto_is_the_gpu_where_there_is_one(cuda: str) -> None:
    assert choose_device("auto") == choose_device(cuda) == minidl.device("cuda")
    assert home(minidl.nn.Linear(1, 1).to("cuda")) == minidl.device("cuda")


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert choose_device("auto") == minidl.device("cpu")
    with pytest.raises(InputError, match="device: must be cpu, cuda or auto, got 'tpu'"):
        choose_device("tpu")


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_every_command_says_so_in_one_sentence(
    app: Application, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, there = tmp_path / "run", tmp_path / "there"
    app.train(data, run, device="auto", **app.settings)
    assert home(load_model(run).model) == minidl.device("cpu")
    commands = (["train", app.verb, data, "-o", there], ["evaluate", run], app.predict(data, run))
    for command in commands:
        capsys.readouterr()
        assert medapps(*command, "--device", "cuda") == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", "medapps: device: 'cuda' cannot be used: CuPy is not installed\n")
    assert not there.exists()
