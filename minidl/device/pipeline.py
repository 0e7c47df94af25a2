"""Numba's compiler with one thing added: it knows that the range a kernel works on does not start below zero.

Otherwise every `x[i]` might mean `x[len(x) + i]`, so LLVM reads each element through a choice between two addresses
instead of loading eight at once (float32 exp: 1.9 ns a number instead of 0.5). Imported only when a kernel is compiled.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir as llvm
from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import BaseNativeLowering, NativeLowering

_LARGEST_INDEX = (1 << 47) - 1  # addresses have no more bits; small enough that begin + (end - begin) cannot overflow


class _KernelLower(Lower):
    def lower_assign(self, ty: Any, inst: Any) -> Any:
        value = super().lower_assign(ty, inst)
        if isinstance(inst.value, ir.Arg) and inst.value.index < 2 and isinstance(value.type, llvm.IntType):
            return self.builder.and_(value, llvm.Constant(value.type, _LARGEST_INDEX))
        return value


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(BaseNativeLowering):
    _name = "minidl_kernel_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        return _KernelLower


class KernelCompiler(CompilerBase):
    """The pipeline for kernels: the first two arguments are a range (begin, end) of indices."""

    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_KernelLowering, NativeLowering)
        passes.passes = [entry for entry in passes.passes if entry[0] is not NativeLowering]
        passes._finalized = False
        passes.finalize()
        return [passes]
