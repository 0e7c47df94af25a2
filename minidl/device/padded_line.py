"""A line with something before and behind it, in vectors: the row of an image with a border."""

from __future__ import annotations

from typing import Any

from minidl.device.inline import intrinsic
from minidl.device.vectors import data_pointer, splat, vector_type
from minidl.device.window_vectors import for_vectors, read, write


def _emit_padded(
    typing_context: Any, target: Any, to: Any, source: Any, at: Any, before: Any, count: Any, after: Any, value: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(target)
        begin = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        line = builder.gep(data_pointer(context, builder, source, args[2]), [args[3]])
        before, count, after = args[4:7]
        border = splat(builder, vector, args[7])
        middle = builder.gep(begin, [before])
        end = builder.gep(middle, [count])
        for_vectors(builder, vector, before, lambda k, mask: write(builder, border, builder.gep(begin, [k]), mask))

        def copy(k: Any, mask: Any) -> None:
            write(builder, read(builder, vector, builder.gep(line, [k]), mask), builder.gep(middle, [k]), mask)

        for_vectors(builder, vector, count, copy)
        for_vectors(builder, vector, after, lambda k, mask: write(builder, border, builder.gep(end, [k]), mask))
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, source, number, number, number, number, target.dtype), code


@intrinsic(_emit_padded)
def padded_line(target: Any, to: int, source: Any, at: int, before: int, count: int, after: int, value: Any) -> None:
    """`before` times `value`, then `count` numbers of `source` from `at` on, then `after` times `value`."""
    target[to : to + before] = value
    target[to + before : to + before + count] = source[at : at + count]
    target[to + before + count : to + before + count + after] = value
