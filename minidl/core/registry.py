"""Names of ops and of public functions, so that a lower layer can reach a higher one without importing it.

Tensor's methods are such calls by name: `x.relu()` is `call("relu", x)`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minidl.errors import KernelError

if TYPE_CHECKING:
    from minidl.core.op import Op

ops: dict[str, type[Op]] = {}
functions: dict[str, Callable[..., Any]] = {}


def find_op(name: str) -> type[Op]:
    """The op called `name`.

    Raises:
        KernelError: if there is none; the sentence names the nearest ones.
    """
    if name in ops:
        return ops[name]
    near = ", ".join(difflib.get_close_matches(name, ops)) or "see minidl.ops"
    raise KernelError(f"there is no op named {name!r}; near it: {near}")


def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call the public function `name`."""
    return functions[name](*args, **kwargs)
