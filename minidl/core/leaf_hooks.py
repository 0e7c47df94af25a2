"""The hooks of a leaf: before its gradient is added to `.grad`, and after."""

from __future__ import annotations

from minidl.core.hooks import Hooks


class LeafHooks:
    """`before` gets the whole gradient of one backward pass and may replace it; `after` gets the leaf."""

    def __init__(self) -> None:
        self.before = Hooks()
        self.after = Hooks()
