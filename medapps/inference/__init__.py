"""From a trained network to probabilities, and from memory to a model file and back."""

from medapps.inference.card import Card
from medapps.inference.modelfile import Classifier, load_model, save_model
from medapps.inference.planes import prepare_planes, with_context
from medapps.inference.probabilities import predict_probabilities
from medapps.inference.sliding import segment_planes

__all__ = [
    "Card",
    "Classifier",
    "load_model",
    "predict_probabilities",
    "prepare_planes",
    "save_model",
    "segment_planes",
    "with_context",
]
