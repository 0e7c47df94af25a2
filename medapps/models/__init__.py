"""The networks, by name: what a model file may ask for, and nothing else, can be built."""

from medapps.models.average import WeightAverage
from medapps.models.registry import MODELS, build_model
from medapps.models.residual_cnn import ResidualCNN

__all__ = ["MODELS", "ResidualCNN", "WeightAverage", "build_model"]
