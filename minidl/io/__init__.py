"""Files: weights as safetensors, checkpoints, and writes that are whole or not there. Nothing here can run code."""

from minidl.io.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from minidl.io.safetensors import load, save
from minidl.io.whole import write_bytes

__all__ = ["Checkpoint", "load", "read_checkpoint", "save", "save_checkpoint", "write_bytes"]
