"""`medapps train classify | segment | diagnose`: a model from labelled images, judged once on its test split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medapps import NOTICE
from medapps.cli.app import Device, train
from medapps.cli.shown import judge

__all__: list[str] = []


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
        judge(folder, None, device)
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
        judge(folder, None, device)
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
        judge(folder, None, device)
    print(NOTICE)
