"""Writers: a label map in the form that other programs read, in the same place of the world as its image."""

from medapps.writers.mask import Algorithm, write_mask

__all__ = ["Algorithm", "write_mask"]
