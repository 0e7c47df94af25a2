"""Checkpointing: save memory by computing values again.

The steps inside keep nothing for backward. When backward comes to them, the function runs a second time, and its steps
give what the first ones would have kept. So memory holds the inputs, and the inside of one checkpoint at a time, for
the price of one more forward pass (Chen et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidl.core import Node, Tensor, deferring, is_recording, recording, settle
from minidl.core.casting import casting, current_casting
from minidl.core.tape import check_unchanged, noting
from minidl.core.versions import change_of, tick
from minidl.errors import ArgumentError, GradError
from minidl.random import default_generator

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, without keeping for backward what can be computed again.

    `function` runs a second time in the backward pass and must do the same then: modules count and average twice what
    they count and average (the running statistics of batch-norm).

    Args:
        use_reentrant: PyTorch's choice between two ways; there is one here, and derivatives of any order work.
        preserve_rng_state: let the second run draw the same random numbers (dropout) from the default generator.

    Raises:
        GradError: in the backward pass, if the second run takes other steps, or an input was changed in between.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: (x * x).exp().sum(), x).backward()
    >>> (x.grad / (x * x).exp()).tolist()
    [2.0, 4.0]
    """
    if not is_recording():
        return function(*args, **kwargs)
    settle()  # what waits belongs to the steps before
    inputs = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
    frame = _Frame(lambda: function(*args, **kwargs), inputs, preserve_rng_state)
    return frame.run(frame.empty)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True
) -> Any:
    """The layers of a Sequential one after the other, in `segments` checkpoints of equal length.

    Gradients have the bits that they have without, unless the end of a segment parts layers that run as one op, such as
    a norm and its GELU: these round once more then.

    Args:
        functions: a Sequential, or a list of layers.
        segments: from 1 to the number of layers; about the square root of it saves most.
    """
    layers = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= len(layers):
        raise ArgumentError(f"checkpoint_sequential: segments must be from 1 to {len(layers)}, the number of layers, "
                            f"got {segments}")  # fmt: skip
    ends = [len(layers) * (i + 1) // segments for i in range(segments)]
    for begin, end in zip([0, *ends], ends, strict=False):
        input = checkpoint(_run, layers[begin:end], input, preserve_rng_state=preserve_rng_state)
    return input


def _run(layers: Sequence[Callable[..., Any]], value: Any) -> Any:
    with deferring():  # as in a Sequential
        for layer in layers:
            value = layer(value)
    return value


class _Frame:
    """One checkpoint: its function, its steps, and those of the second run that were not asked for yet."""

    def __init__(self, function: Callable[[], Any], inputs: Sequence[Tensor], preserve_rng_state: bool) -> None:
        self.function, self.inputs = function, inputs
        asked = current_casting()
        # The second run finds no casts of weights that were made before, so the first must not use any.
        self.asked = None if asked is None else asked._replace(cache=None)
        self.random_state = default_generator().get_state() if preserve_rng_state else None
        self.specs: list[Any] = []
        self.again: dict[int, Node] = {}
        self.started = self.ended = 0

    def empty(self, node: Node) -> None:
        """Take from a step what it keeps; it asks for it by its number."""
        number = len(self.specs)
        self.specs.append((node.op, node.specs))
        node.keep(lambda node: self.saved(node, number))

    def saved(self, node: Node, number: int) -> tuple[Any, ...]:
        """What step `number` would have kept. It is handed out once, so that memory is freed on the way back."""
        if number not in self.again:
            self.run_again()
        fresh = self.again.pop(number)
        values = fresh.saved
        flat = [t for v in values for t in (v if isinstance(v, tuple) else (v,)) if isinstance(t, Tensor)]
        check_unchanged(node, [("a value from outside of the checkpoint", t) for t in flat], until=self.started)
        return values

    def run(self, note: Callable[[Node], None]) -> Any:
        """The function's result; `note` is told of each step. Nothing waits in the end, so both runs take the same."""
        with noting(note), deferring(), casting(self.asked):
            result = self.function()
            settle()
        self.ended = tick()
        return result

    def check_inputs(self) -> None:
        """See that the second run starts from the same numbers as the first: not every step would notice it."""
        for t in self.inputs:
            change = change_of(t.array)
            if change is not None and change.tick > self.ended:
                raise GradError(
                    f"checkpoint: its input of shape {t.shape} must be as it was in the forward pass to run again, but "
                    f"{change.op} has changed it in place since; change a clone() of it, or use the op without the "
                    "underscore"
                )

    def run_again(self) -> None:
        self.check_inputs()
        nodes: list[Node] = []
        generator = default_generator()
        here = generator.get_state()
        self.started = tick()
        if self.random_state is not None:
            generator.set_state(self.random_state)
        try:
            with recording(True):
                self.run(nodes.append)
        finally:
            if self.random_state is not None:
                generator.set_state(here)
        if [(node.op, node.specs) for node in nodes] != self.specs:
            raise GradError(
                f"checkpoint: the function took {len(self.specs)} steps in the forward pass, but {len(nodes)}, or "
                "others, when it ran again; it must do the same each time, so keep out what changes from call to call"
            )
        self.again = dict(enumerate(nodes))
