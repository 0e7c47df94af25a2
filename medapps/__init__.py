"""medapps: medical-image applications on minidl. For research, not a medical device.

The verbs of the command line are functions here, with the same defaults; each is loaded on first use, so that
`import medapps` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medapps.apps.classify import train_classifier
    from medapps.apps.demo import demo
    from medapps.apps.diagnose import train_diagnosis
    from medapps.apps.doctor import doctor
    from medapps.apps.evaluate import evaluate_run
    from medapps.apps.inspect import inspect
    from medapps.apps.predict import predict_files
    from medapps.apps.predict_patients import predict_patients
    from medapps.apps.segment import train_segmenter
    from medapps.apps.segment_study import segment_study
    from medapps.deidentify import deidentify_study
    from medapps.report import write_report

__all__ = [
    "NOTICE", "deidentify_study", "demo", "doctor", "evaluate_run", "inspect", "predict_files", "predict_patients",
    "segment_study", "train_classifier", "train_diagnosis", "train_segmenter", "write_report",
]  # fmt: skip

__version__ = "0.1.0"

NOTICE = "For research and teaching only. Not a medical device; not for diagnosis."

_VERBS = {
    "deidentify_study": "medapps.deidentify",
    "demo": "medapps.apps.demo",
    "doctor": "medapps.apps.doctor",
    "evaluate_run": "medapps.apps.evaluate",
    "inspect": "medapps.apps.inspect",
    "predict_files": "medapps.apps.predict",
    "predict_patients": "medapps.apps.predict_patients",
    "segment_study": "medapps.apps.segment_study",
    "train_classifier": "medapps.apps.classify",
    "train_diagnosis": "medapps.apps.diagnose",
    "train_segmenter": "medapps.apps.segment",
    "write_report": "medapps.report",
}


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'medapps' has no attribute {name!r}")
    return getattr(import_module(_VERBS[name]), name)
