"""Mixed precision under PyTorch's names: `autocast` computes in 16 bits where that is safe.

`GradScaler` keeps gradients from vanishing in float16.
"""

from minidl.amp.autocast import autocast, clear_autocast_cache, get_autocast_dtype, is_autocast_enabled
from minidl.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "clear_autocast_cache", "get_autocast_dtype", "is_autocast_enabled"]
