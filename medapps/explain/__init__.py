"""Explanations: where in a picture a network found what it says."""

from medapps.explain.gradcam import grad_cam
from medapps.explain.overlay import draw_overlay, overlay

__all__ = ["draw_overlay", "grad_cam", "overlay"]
