"""The engine's core: what an op is, what a tensor is, and the tape between them."""

from minidl.core import registry
from minidl.core.defer import Waiting, absorbs, deferring, settle, waiting
from minidl.core.in_place import update
from minidl.core.op import AlikeOp, Op, UpdateOp, ViewOp
from minidl.core.spec import Spec
from minidl.core.tape import Call, Grads, Kernel, Node, Run, is_recording, launch, launching, recording
from minidl.core.tensor import Tensor, as_tensor, dim_index, tensor
from minidl.core.way import use_kernel
from minidl.device import Array

__all__ = [
    "AlikeOp", "Array", "Call", "Grads", "Kernel", "Node", "Op", "Run", "Spec", "Tensor", "UpdateOp", "ViewOp",
    "Waiting", "absorbs", "as_tensor", "deferring", "dim_index", "is_recording", "launch", "launching", "recording",
    "registry", "settle", "tensor", "update", "use_kernel", "waiting",
]  # fmt: skip
