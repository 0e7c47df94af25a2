"""Files: weights as safetensors, checkpoints, and writes that are whole or not there. Nothing here can run code."""

from minidl.io.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from minidl.io.folder import CheckpointFolder
from minidl.io.header import Limits
from minidl.io.safetensors import load, read, save
from minidl.io.whole import write_bytes

__all__ = [
    "Checkpoint", "CheckpointFolder", "Limits", "load", "read", "read_checkpoint", "save", "save_checkpoint",
    "write_bytes",
]  # fmt: skip
