"""From a trained network to probabilities and decisions, and from memory to a model file and back."""

from medapps.inference.card import Card
from medapps.inference.decision import REFERRED, Decision, DecisionRules, check_rules, choose_decision
from medapps.inference.modelfile import Classifier, load_model, model_file, save_model
from medapps.inference.planes import mirrored_rows, prepare_planes, with_context
from medapps.inference.pooling import POOLINGS, Cases, gather_cases, pool
from medapps.inference.probabilities import predict_probabilities
from medapps.inference.sliding import segment_planes

__all__ = [
    "POOLINGS",
    "REFERRED",
    "Card",
    "Cases",
    "Classifier",
    "Decision",
    "DecisionRules",
    "check_rules",
    "choose_decision",
    "gather_cases",
    "load_model",
    "mirrored_rows",
    "model_file",
    "pool",
    "predict_probabilities",
    "prepare_planes",
    "save_model",
    "segment_planes",
    "with_context",
]
