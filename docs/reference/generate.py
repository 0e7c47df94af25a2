"""Write the reference pages from the docstrings of everything public. `python -m docs.reference.generate`."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

PAGES = {
    "minidl": [
        "minidl", "minidl.autograd", "minidl.autograd.functional", "minidl.autograd.forward_ad", "minidl.func",
        "minidl.nn", "minidl.nn.functional", "minidl.nn.init", "minidl.nn.utils", "minidl.nn.utils.rnn",
        "minidl.optim", "minidl.optim.lr_scheduler", "minidl.optim.swa_utils", "minidl.utils.data",
        "minidl.utils.checkpoint", "minidl.amp", "minidl.cuda", "minidl.io", "minidl.testing", "minidl.linalg",
        "minidl.special", "minidl.core", "minidl.device", "minidl.errors",
    ],
    "medapps": [
        "medapps", "medapps.image", "medapps.readers", "medapps.writers", "medapps.deidentify", "medapps.transforms",
        "medapps.phantom", "medapps.recipe", "medapps.models", "medapps.losses", "medapps.fit", "medapps.inference",
        "medapps.explain", "medapps.metrics", "medapps.evaluate", "medapps.evaluate_segmentation",
        "medapps.evaluate_diagnosis", "medapps.report", "medapps.plugins", "medapps.search", "medapps.errors",
    ],
}  # fmt: skip


def page(package: str) -> str:
    """The page of one package, as Markdown."""
    lines = [f"# {package}", "", "Made from the docstrings.", ""]
    shown: set[int] = set()
    for name in PAGES[package]:
        module = importlib.import_module(name)
        lines += [f"## {name}", "", (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " "), ""]
        for entry in sorted(getattr(module, "__all__", []), key=str.lower):
            thing = getattr(module, entry)
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and id(thing) not in shown:
                shown.add(id(thing))
                lines += _entry(entry, thing)
    return "\n".join(lines) + "\n"


def _entry(name: str, thing: object) -> list[str]:
    try:
        signature = str(inspect.signature(thing)) if callable(thing) else ""
    except ValueError:
        signature = ""
    doc = inspect.getdoc(thing) or ""
    return [f"### {name}", "", "```text", f"{name}{signature}", "", *doc.splitlines(), "```", ""]


def main() -> None:
    """Write every page beside this file."""
    for package in PAGES:
        (Path(__file__).parent / f"{package}.md").write_text(page(package), encoding="utf-8")


if __name__ == "__main__":
    main()
