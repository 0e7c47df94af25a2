"""The command `medapps`: verbs that read like sentences, each a thin wrapper of the Python function of the same name.

What goes wrong with the input is one sentence on standard error and exit code 2; `--debug` shows the traceback. Nothing
heavy is imported before a verb runs, so that `medapps --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medapps import NOTICE
from medapps.errors import MedappsError

if TYPE_CHECKING:
    from medapps.apps.predict import Prediction
    from medapps.apps.predict_patients import PatientPrediction
    from medapps.evaluate import Evaluation
    from medapps.evaluate_diagnosis import DiagnosisEvaluation
    from medapps.metrics import Estimate
    from medapps.segmentation_result import SegmentationEvaluation

__all__ = ["app", "main"]

_PLAIN: dict[str, Any] = {"rich_markup_mode": None, "add_completion": False, "no_args_is_help": True}
app = typer.Typer(
    help=f"Medical-image applications: train, judge, predict, report.\n\n{NOTICE}",
    pretty_exceptions_enable=False,
    **_PLAIN,
)
train = typer.Typer(help="Train a model on labelled images.", **_PLAIN)
app.add_typer(train, name="train")
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: cuda where it can be used.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    pass  # main() takes --debug off, wherever it stands


@app.command("demo")
def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")] = Path("medapps-demo"),
    seed: Annotated[int, typer.Option(help="Decides phantoms, weights and order.", min=0)] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier demo there.")] = False,
) -> None:
    """Make synthetic CT images; train, judge and report three models: tissues, organs, diseases. About 3 minutes."""
    from medapps.apps.demo import demo
    from medapps.apps.progress import training_progress

    made = demo(output, seed, overwrite=overwrite, progress=lambda part: training_progress(part=f"{part}, "), say=_note)
    print(_table("test", {f"{part.name}, {part.headline[0]}": part.headline[1] for part in made.parts}))
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


@train.command("classify")
def train_classify_command(
    data: Annotated[Path, typer.Argument(help="An .npz file, a folder or zip of class folders, or a phantom folder.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/<data>-seed<seed>].")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.json to start from.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides weights, order and augmentation.", min=0)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.", min=2)] = None,
    image_size: Annotated[int | None, typer.Option(help="Resize images to this side, in pixels.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again in a folder that holds a run.")] = False,
    device: Device = "cpu",
    evaluate: Annotated[bool, typer.Option(help="Judge the result on the test split and write the report.")] = True,
) -> None:
    """Train a classifier, keep the best epoch by validation, then open the test split once and report."""
    from medapps.apps.classify import train_classifier
    from medapps.apps.progress import training_progress
    from medapps.apps.training import default_run, read_recipe

    given = {"seed": seed, "epochs": epochs, "lr": lr, "batch_size": batch_size, "image_size": image_size}
    overrides = {name: value for name, value in given.items() if value is not None}
    start = read_recipe(recipe) if recipe else None
    folder = output or default_run(data, seed if seed is not None else start.seed if start else 0)
    with training_progress() as progress:
        history = train_classifier(
            data,
            folder,
            recipe=start,
            resume=resume,
            overwrite=overwrite,
            device=device,
            progress=progress,
            **overrides,
        )
    best = history.rows[history.best_epoch - 1]
    print(f"best epoch {history.best_epoch}: validation AUC {best['val_auc']:.4f}, accuracy {best['val_accuracy']:.4f}")
    print(f"model: {folder / 'model.safetensors'}")
    if evaluate:
        _judge(folder, None, device)
    print(NOTICE)


@train.command("segment")
def train_segment_command(
    data: Annotated[Path, typer.Argument(help="A folder with images/ and labels/, an .npz file, or a phantom folder.")],
    net: Annotated[str, typer.Option(help="reseg (recurrent sweeps) or unet (convolutions).")] = "reseg",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/<data>-seed<seed>].")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.json to start from.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names of what to segment, with commas [all].")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides weights, order and augmentation.", min=0)] = None,
    epochs: Annotated[int | None, typer.Option(help="Rounds of training.", min=1)] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Patches a step.", min=2)] = None,
    patch_size: Annotated[int | None, typer.Option(help="Longest side of the patches, in pixels.")] = None,
    samples: Annotated[int | None, typer.Option(help="Patches shown an epoch.", min=2)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again in a folder that holds a run.")] = False,
    device: Device = "cpu",
    evaluate: Annotated[bool, typer.Option(help="Judge the result on the test split and write the report.")] = True,
) -> None:
    """Train a segmentation of pictures or volumes, keep the best epoch by validation, open the test split once."""
    from medapps.apps.progress import training_progress
    from medapps.apps.segment import train_segmenter
    from medapps.apps.training import default_run, read_recipe

    given = {"seed": seed, "epochs": epochs, "lr": lr, "batch_size": batch_size, "patch_size": patch_size}
    given["samples"] = samples
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if classes is not None:
        overrides["classes"] = [name.strip() for name in classes.split(",")]
    start = read_recipe(recipe) if recipe else None
    folder = output or default_run(data, seed if seed is not None else start.seed if start else 0)
    with training_progress() as progress:
        history = train_segmenter(
            data,
            folder,
            net=net,
            recipe=start,
            resume=resume,
            overwrite=overwrite,
            device=device,
            progress=progress,
            **overrides,
        )
    print(f"best epoch {history.best_epoch}: validation Dice {history.rows[history.best_epoch - 1]['val_dice']:.4f}")
    print(f"model: {folder / 'model.safetensors'}")
    if evaluate:
        _judge(folder, None, device)
    print(NOTICE)


@train.command("diagnose")
def train_diagnose_command(
    data: Annotated[Path, typer.Argument(help="A folder or zip of class folders, or an .npz file, with patients.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/<data>-seed<seed>].")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.json to start from.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides weights, order and augmentation.", min=0)] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.", min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.", min=2)] = None,
    image_size: Annotated[int | None, typer.Option(help="Resize images to this side, in pixels.")] = None,
    pooling: Annotated[str, typer.Option(help="From images to a patient: mean, log_mean or max.")] = "mean",
    healthy: Annotated[str | None, typer.Option(help="The class that all others are told from.")] = None,
    sensitivity: Annotated[float | None, typer.Option(help="Share of the diseased to find [Youden].")] = None,
    kept_accuracy: Annotated[float, typer.Option(help="Accuracy wanted among those not referred.")] = 0.9,
    refer_below: Annotated[float | None, typer.Option(help="A fixed confidence to refer below, instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run, or choose its decision anew.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again in a folder that holds a run.")] = False,
    device: Device = "cpu",
    evaluate: Annotated[bool, typer.Option(help="Judge the result on the test split and write the report.")] = True,
) -> None:
    """Train on images, decide about patients: disease type, calibrated probability, or refer to a human."""
    from medapps.apps.diagnose import train_diagnosis
    from medapps.apps.progress import training_progress
    from medapps.apps.training import default_run, read_recipe
    from medapps.inference import DecisionRules

    given = {"seed": seed, "epochs": epochs, "batch_size": batch_size, "image_size": image_size}
    overrides = {name: value for name, value in given.items() if value is not None}
    rules = DecisionRules(pooling, healthy, sensitivity, kept_accuracy, refer_below)
    start = read_recipe(recipe) if recipe else None
    folder = output or default_run(data, seed if seed is not None else start.seed if start else 0)
    with training_progress() as progress:
        train_diagnosis(
            data,
            folder,
            recipe=start,
            rules=rules,
            resume=resume,
            overwrite=overwrite,
            device=device,
            progress=progress,
            **overrides,
        )
    print(f"model: {folder / 'model.safetensors'}")
    if evaluate:
        _judge(folder, None, device)
    print(NOTICE)


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
    options: dict[str, Any] = {"trials": trials, "eta": eta, "seed": seed, "minutes": minutes, "say": _note}
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
    _judge(run, data, device)
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
            paths, model, output=output, explain=explain, overwrite=overwrite, device=device, show=_show_prediction
        )
        made, failed = f"{len(patients)} patients decided about", len(refused)
    else:
        predictions = predict_files(
            paths, model, output=output, overwrite=overwrite, device=device, show=_show_prediction
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
        _complain(why)
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code: 0, 2 for bad input, 130 for Ctrl-C, 1 for a fault of ours."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        # Outside standalone mode typer returns the code of an Exit, or None; it turns Ctrl-C into an Exit(130).
        code = typer.main.get_command(app)([a for a in given if a != "--debug"], "medapps", standalone_mode=False)
        if code == 130:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:
        if debug and not isinstance(error, SystemExit):
            raise
        code = _explain(error)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> int:
    """Say in one sentence what stopped the command; the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        _complain("stopped by Ctrl-C; what was written is whole, and `medapps train ... --resume` goes on from it")
        return 130
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 141
    if hasattr(error, "format_message"):  # click's usage errors, whichever click typer carries
        _complain(f"{error.format_message()} (see `medapps --help`)")
        return 2
    return _explain_fault(error)


def _explain_fault(error: BaseException) -> int:
    from minidl.errors import MinidlError

    if isinstance(error, MedappsError | MinidlError):
        _complain(str(error))
    elif isinstance(error, OSError):
        full = "; free some space or choose another place" if error.errno == errno.ENOSPC else ""
        _complain(f"{error.filename or 'a file'}: {error.strerror or error}{full}")
    elif isinstance(error, ModuleNotFoundError) and error.name:
        _complain(f"the package {error.name.split('.')[0]} is missing; pip install 'minidl[med]'")
    elif isinstance(error, MemoryError):
        _complain("the memory of this machine does not suffice; try a smaller --batch-size or --image-size")
    else:
        _complain(f"a fault in medapps ({type(error).__name__}: {error}); run again with --debug and report it")
        return 1
    return 2


def _judge(run: Path, data: Path | None, device: str) -> None:
    from medapps.apps.evaluate import evaluate_run
    from medapps.evaluate_diagnosis import DiagnosisEvaluation
    from medapps.report import write_report

    found = evaluate_run(run, data_path=data, device=device)
    print(_diagnosis_headline(found) if isinstance(found, DiagnosisEvaluation) else _headline(found))
    print(f"report: {write_report(run)}")


def _headline(evaluation: Evaluation | SegmentationEvaluation) -> str:
    """The figures of an evaluation as a table."""
    unit = getattr(evaluation, "unit", "")
    shown = {f"{name} ({unit})" if name in ("hd95", "assd") else name: e for name, e in evaluation.metrics.items()}
    return _table(evaluation.split, shown)


def _diagnosis_headline(found: DiagnosisEvaluation) -> str:
    """Figures of patients, of images, at the operating point and of the referral."""
    disease = found.decision.disease(found.patients.classes)
    figures = {
        **found.patients.metrics,
        **{f"image {name}": found.images.metrics[name] for name in ("auc", "accuracy")},
        **{f"{disease}: {name}": figure for name, figure in found.operating.items()},
        **{f"not referred: {name}": figure for name, figure in found.referral.items()},
    }
    return _table(f"{found.patients.split}, patients", figures)


def _table(title: str, figures: Mapping[str, Estimate]) -> str:
    from medapps.apps.tables import columns

    rows = [["", title, "95 % interval", "n"]]
    for name, figure in figures.items():
        rows.append(
            [name.replace("_", " "), f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}", str(figure.n)]
        )
    return columns(rows)


def _show_prediction(made: Prediction | PatientPrediction) -> None:
    from medapps.apps.predict_patients import PatientPrediction
    from medapps.apps.tables import printable

    if isinstance(made, PatientPrediction):
        images = f"{len(made.images)} image{'s' * (len(made.images) > 1)}"
        shown = f"{made.patient}  {made.label}  {made.probability:.3f}  {made.decision}  {images}"
        print(printable(shown), flush=True)
    elif made.error is not None:
        _complain(made.error)
    else:
        print(printable(f"{made.name}  {made.label}  {made.probability:.3f}"), flush=True)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _complain(sentence: str) -> None:
    """One line on standard error, whatever a file calls itself."""
    _note("medapps: " + "".join(c if c.isprintable() else " " for c in sentence))
