"""The verbs beside `train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from medapps import NOTICE
from medapps.cli.app import Device, app
from medapps.cli.shown import complain, judge, note, show_prediction, table

__all__: list[str] = []


@app.command("demo")
def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("medapps-demo"),
    seed: Annotated[int, typer.Option(help="Decides phantoms, weights and order.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier demo there.")] = False,
) -> None:
    """Make synthetic CT images; train, judge and report three models: tissues, organs, diseases. About 2 minutes."""
    from medapps.apps.demo import demo
    from medapps.apps.progress import training_progress

    made = demo(output, seed, overwrite=overwrite, progress=lambda part: training_progress(part=f"{part}, "), say=note)
    print(table("test", {f"{part.name}, {part.headline[0]}": part.headline[1] for part in made.parts}))
    print(f"{sum(part.cpu_seconds for part in made.parts):.0f} s of CPU time")
    print("The images are synthetic: made by a program, of no patient.")
    print(f"report: {made.report}")
    print(NOTICE)


@app.command("inspect")
def inspect_command(
    paths: Annotated[list[Path], typer.Argument(help="Images, studies, data sets, model files or run folders.")],
) -> None:
    """Say what a file or folder holds: an image, a study with its series, a data set, a model, a run."""
    from medapps.apps.inspect import inspect
    from medapps.apps.tables import columns

    for path in paths:
        print(columns([[name, value] for name, value in inspect(path).items()]))


@app.command("tune")
def tune_command(
    data: Annotated[Path, typer.Argument(help="What `medapps train` of that task takes.")],
    task: Annotated[str, typer.Option(help="classify, segment or diagnose.")] = "classify",
    net: Annotated[str, typer.Option(help="Of a segmentation: reseg or unet.")] = "reseg",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder [runs/<data>-tune].")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.json to start from.")] = None,
    trials: Annotated[int, typer.Option(help="Recipes to try.", min=2)] = 16,
    eta: Annotated[int, typer.Option(help="One in how many goes on, for that many times as long.", min=2)] = 3,
    seed: Annotated[int, typer.Option(help="Decides what is tried.", min=0)] = 0,
    epochs: Annotated[int | None, typer.Option(help="Epochs of the trials that go all the way.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Start nothing more after that long.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again in a folder that holds one.")] = False,
) -> None:
    """Search for a better recipe by the validation split: random draws, of which the better go on."""
    from medapps.apps.tables import columns
    from medapps.apps.training import read_recipe
    from medapps.apps.tune import tune

    folder = output or Path("runs") / f"{data.resolve().stem or 'data'}-tune"
    start = read_recipe(recipe) if recipe else None
    overrides: dict[str, Any] = {"epochs": epochs} if epochs is not None else {}
    options: dict[str, Any] = {"trials": trials, "eta": eta, "seed": seed, "minutes": minutes, "say": note}
    made = tune(
        data, folder, task=task, net=net, recipe=start, resume=resume, overwrite=overwrite, **options, **overrides
    )
    print(columns(made.table()))
    if not made.finished:
        print(f"stopped after {minutes:g} minutes; the same command with --resume goes on")
    if made.best is not None:
        print(f"best recipe: {folder / 'best.json'}  (medapps train {task} {data} --recipe {folder / 'best.json'})")
    print(NOTICE)


@app.command("evaluate")
def evaluate_command(
    run: Annotated[Path, typer.Argument(help="A run folder that `medapps train` wrote.")],
    data: Annotated[Path | None, typer.Option(help="Where the data are now, if they were moved.")] = None,
    device: Device = "cpu",
) -> None:
    """Judge a run on its test split: each figure with its 95 % interval."""
    judge(run, data, device)
    print(NOTICE)


@app.command("predict")
def predict_command(
    paths: Annotated[list[Path], typer.Argument(help="DICOM, NIfTI, PNG, JPEG or .npz files, or folders of them.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="A model.safetensors, or the run folder that holds it.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write results to this .csv or .json, a mask to this .nii.gz, .dcm or .png."
        ),
    ] = None,
    explain: Annotated[Path | None, typer.Option(help="Write heat maps of a diagnosis into this folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
    device: Device = "cpu",
) -> None:
    """Classify images, decide about patients, or segment a study, as the model can.

    A file that cannot be used gets one sentence, and the others go on.
    """
    from medapps.apps.predict import predict_files
    from medapps.apps.predict_patients import predict_patients
    from medapps.inference import load_model

    card = load_model(model).card
    if card.task == "segment":
        _segment(paths, model, output, overwrite, device)
        return
    if explain is not None or card.decision is not None:
        patients, refused = predict_patients(
            paths, model, output=output, explain=explain, overwrite=overwrite, device=device, show=show_prediction
        )
        made, failed = f"{len(patients)} patients decided about", len(refused)
    else:
        predictions = predict_files(
            paths, model, output=output, overwrite=overwrite, device=device, show=show_prediction
        )
        failed = sum(p.error is not None for p in predictions)
        made = f"{len(predictions) - failed} classified"
    print(f"{made}, {failed} refused" + (f", written to {output}" if output else ""))
    print(NOTICE)
    if failed:
        raise typer.Exit(2)


def _segment(paths: Sequence[Path], model: Path, output: Path | None, overwrite: bool, device: str) -> None:
    """Segment one study and say how large what was found is."""
    from medapps.apps.segment_study import segment_study
    from medapps.apps.tables import columns
    from medapps.errors import InputError

    if len(paths) != 1:
        raise InputError(f"predict: this model segments one study at a time, got {len(paths)}; name one file or folder")
    found = segment_study(paths[0], model, output, overwrite=overwrite, device=device)
    volumes = found.millilitres
    rows = [["", "voxels", *(["ml"] if volumes else [])]]
    for name, count in found.voxels.items():
        rows.append([name, str(count), *([f"{volumes[name]:.2f}"] if volumes else [])])
    print(columns(rows))
    if output:
        print(f"mask: {output}")
    print(NOTICE)


@app.command("deidentify")
def deidentify_command(
    study: Annotated[Path, typer.Argument(help="A folder, a zip or a file of DICOM.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder for the copies.")],
    dates: Annotated[str, typer.Option(help="remove, or shift by a secret number of days.")] = "remove",
    retain: Annotated[list[str] | None, typer.Option(help="Keep patient, device or institution facts.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Key for the same replacements in every export.")] = None,
) -> None:
    """Copy DICOM files without the patient's identity (PS3.15 basic profile); pixels are not changed."""
    from medapps.deidentify import deidentify_study
    from medapps.readers.files import file_bytes

    key = file_bytes(key_file) if key_file else None
    made = deidentify_study(study, output, dates=dates, retain=retain or (), key=key)
    for _, why in made.skipped:
        complain(why)
    print(f"{made.files} files of {made.series} series written to {made.folder}, {len(made.skipped)} left out")
    if made.unchecked:
        print(f"{made.unchecked} of them do not say that no text is burned into their pixels: look at them")
    print(NOTICE)


@app.command("report")
def report_command(run: Annotated[Path, typer.Argument(help="A run folder that was evaluated.")]) -> None:
    """Write report.html, one file with figures and pictures, from what a run folder holds."""
    from medapps.report import write_report

    print(f"report: {write_report(run)}")
    print(NOTICE)


@app.command("doctor")
def doctor_command() -> None:
    """Say what this installation can do: versions, extras, threads, kernels, DICOM codecs."""
    from medapps.apps.doctor import doctor
    from medapps.apps.tables import columns

    print(columns([[name, value] for name, value in doctor().items()]))
