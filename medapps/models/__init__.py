"""The networks, by name: what a model file may ask for, and nothing else but plug-ins, can be built."""

from medapps.models.average import WeightAverage
from medapps.models.registry import MODELS, build_model, describe_model
from medapps.models.reseg import ReSeg
from medapps.models.residual_cnn import ResidualCNN
from medapps.models.unet import UNet

__all__ = ["MODELS", "ReSeg", "ResidualCNN", "UNet", "WeightAverage", "build_model", "describe_model"]
