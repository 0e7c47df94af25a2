"""From a trained network to probabilities, and from memory to a model file and back."""

from medapps.inference.card import Card
from medapps.inference.modelfile import Classifier, load_model, save_model
from medapps.inference.probabilities import predict_probabilities

__all__ = ["Card", "Classifier", "load_model", "predict_probabilities", "save_model"]
