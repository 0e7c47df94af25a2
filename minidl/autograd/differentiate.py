"""grad and backward: gradients of several results, with respect to all leaves or to named tensors."""

from __future__ import annotations

from collections.abc import Sequence

from minidl.core import Tensor
from minidl.core.on_tape import checked_inputs, starting_gradient
from minidl.core.walk import walk_back
from minidl.errors import ArgumentError, GradError

__all__ = ["backward", "grad"]

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradient of the sum of `tensors` to the `.grad` of the leaves, in one walk for all of them.

    Args:
        tensors: what is differentiated.
        grad_tensors: weights of their elements; None for a tensor of one element.
        retain_graph: keep the saved values, so that the graph can be walked again; as `create_graph` when None.
        create_graph: record the walk, so that gradients can be differentiated.
        inputs: the leaves that get a gradient; all when None.

    Raises:
        GradError: if a tensor needs no gradient, or its weights are missing or do not fit.
    """
    walk_back(
        _roots("backward", _listed(tensors), grad_tensors),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        wanted=None if inputs is None else checked_inputs(inputs),
    )


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of the sum of `outputs` with respect to `inputs`, leaves or not; no `.grad` is touched.

    Args:
        outputs: what is differentiated.
        inputs: with respect to what.
        grad_outputs: weights of the elements of the outputs; None for a tensor of one element.
        retain_graph: keep the saved values, so that the graph can be walked again; as `create_graph` when None.
        create_graph: record the walk, so that gradients can be differentiated.
        allow_unused: give None for an input that has no part in the outputs, instead of an error.
        is_grads_batched: not supported; call once for each row of `grad_outputs`.
        materialize_grads: give zeros instead of None.

    Returns:
        As many tensors as `inputs`, of their shapes.

    Raises:
        GradError: if a tensor needs no gradient, an input has no part, or weights are missing or do not fit.

    >>> from minidl import tensor
    >>> x = tensor(3.0, requires_grad=True)
    >>> (first,) = grad(x**4, x, create_graph=True)
    >>> (second,) = grad(first, x)
    >>> first.item(), second.item()
    (108.0, 108.0)
    """
    if is_grads_batched:
        raise ArgumentError("grad: is_grads_batched is not supported; call grad for each row of grad_outputs")
    if allow_unused is False and materialize_grads:
        raise ArgumentError("grad: materialize_grads gives zeros for unused inputs, so allow_unused must not be False")
    wanted = _listed(inputs)
    for position, t in enumerate(wanted):
        if t.is_leaf and not t.requires_grad:  # is_leaf brings a view's place on the tape up to date
            raise GradError(f"grad: inputs[{position}] does not require a gradient; "
                            "set requires_grad=True on it before it is used")  # fmt: skip
    found = walk_back(
        _roots("grad", _listed(outputs), grad_outputs),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        wanted=wanted,
        accumulate=False,
    )
    if materialize_grads:
        return tuple([_zeros(t) if g is None else g for t, g in zip(wanted, found, strict=True)])
    for position, g in enumerate(found):
        if g is None and not allow_unused:
            raise GradError(
                f"grad: inputs[{position}], of shape {wanted[position].shape}, has no part in the outputs; "
                "allow_unused=True gives None for it, materialize_grads=True zeros"
            )
    return found


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _roots(
    name: str, tensors: list[Tensor], weights: Tensor | Sequence[Tensor | None] | None
) -> list[tuple[Tensor, Tensor]]:
    given = [weights] if weights is None or isinstance(weights, Tensor) else list(weights)
    if weights is None:
        given = [None] * len(tensors)
    if len(given) != len(tensors):
        argument = "grad_tensors" if name == "backward" else "grad_outputs"
        raise GradError(f"{name}: {len(tensors)} tensors need as many {argument}, got {len(given)}")
    return [(t, starting_gradient(name, t, w)) for t, w in zip(tensors, given, strict=True)]


def _zeros(like: Tensor) -> Tensor:
    return Tensor.of(like.device.xp.zeros(like.shape, like.dtype))
