"""Derivatives as functions of functions, under the names of `torch.func`.

They are differentiable by the arguments they are called with, so they can be nested: `grad(grad(f))`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from minidl.autograd import functional
from minidl.autograd.differentiate import grad as _grad
from minidl.core import Tensor, recording
from minidl.errors import ArgumentError

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp"]

Function: TypeAlias = Callable[..., Any]


def grad(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """The function that gives the gradient of `func`, which gives one number, by its arguments `argnums`.

    Args:
        has_aux: `func` gives (number, anything), and so does the result: (gradient, anything).

    >>> grad(grad(lambda x: x**3))(Tensor(2.0)).item()
    12.0
    """
    both = grad_and_value(func, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def grad_and_value(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """The function that gives (gradient, value) of `func`; the arguments are those of `grad`."""
    numbers = (argnums,) if isinstance(argnums, int) else argnums

    def both(*args: Any, **kwargs: Any) -> Any:
        linked = any(isinstance(a, Tensor) and a.requires_grad for a in args)
        with recording(True):
            placed, xs = _placed("grad", args, numbers)
            output = func(*placed, **kwargs)
            value, aux = output if has_aux else (output, None)
            if value.numel() != 1:
                raise ArgumentError(f"grad: func must give one number, it gave shape {value.shape}; use jacrev")
            found = _grad(value, xs, create_graph=linked, materialize_grads=True)
        value = value if linked else value.detach()
        gradient = found[0] if isinstance(argnums, int) else tuple(found)
        return gradient, ((value, aux) if has_aux else value)

    return both


def vjp(func: Function, *primals: Tensor) -> tuple[Any, Callable[..., tuple[Tensor, ...]]]:
    """The value of `func` at `primals`, and the function that pulls weights of its outputs back to them.

    >>> value, pull = vjp(lambda x: x * x, Tensor([1.0, 2.0]))
    >>> pull(Tensor([1.0, 10.0]))
    (tensor([ 2., 40.]),)
    """
    linked = any(p.requires_grad for p in primals)
    with recording(True):
        _, xs = _placed("vjp", primals, tuple(range(len(primals))))
        output = func(*xs)
    outputs = list(output) if isinstance(output, tuple) else [output]

    def pull(*cotangents: Any) -> tuple[Tensor, ...]:
        weights = list(cotangents[0]) if isinstance(cotangents[0], tuple) else list(cotangents)
        return _grad(outputs, xs, weights, True, linked, materialize_grads=True)  # type: ignore[return-value]

    shown = [t if linked else t.detach() for t in outputs]
    return (tuple(shown) if isinstance(output, tuple) else shown[0]), pull


def jvp(func: Function, primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> tuple[Any, Any]:
    """The value of `func` at `primals`, and its derivative along `tangents`."""
    linked = any(t.requires_grad for t in (*primals, *tangents))
    return functional.jvp(func, tuple(primals), tuple(tangents), create_graph=linked)


def jacrev(func: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """The function that gives the Jacobian of `func` by backward passes, one for each element of the outputs."""
    return _jacobian(func, argnums, "reverse-mode")


def jacfwd(func: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """The function that gives the Jacobian of `func` by derivatives along each element of the inputs."""
    return _jacobian(func, argnums, "forward-mode")


def hessian(func: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """The function that gives the second derivatives of `func`.

    >>> hessian(lambda x: (x**3).sum())(Tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacrev(jacrev(func, argnums), argnums)


def _jacobian(func: Function, argnums: int | tuple[int, ...], strategy: str) -> Function:
    numbers = (argnums,) if isinstance(argnums, int) else argnums

    def derivatives(*args: Any) -> Any:
        def of_chosen(*chosen: Tensor) -> Any:
            filled = list(args)
            for number, tensor in zip(numbers, chosen, strict=True):
                filled[number] = tensor
            return func(*filled)

        given = args[argnums] if isinstance(argnums, int) else tuple(args[n] for n in numbers)
        linked = any(isinstance(a, Tensor) and a.requires_grad for a in args)
        return functional.jacobian(of_chosen, given, create_graph=linked, strategy=strategy)

    return derivatives


def _placed(name: str, args: Sequence[Any], numbers: tuple[int, ...]) -> tuple[list[Any], list[Tensor]]:
    """The arguments with those to differentiate by as places of their own on the tape, and these."""
    placed, chosen = list(args), []
    for number in numbers:
        if not -len(args) <= number < len(args) or not isinstance(args[number], Tensor):
            raise ArgumentError(f"{name}: argument {number} is not a tensor; argnums must name tensors")
        t = args[number]
        placed[number] = t.view(t.shape) if t.requires_grad else t.detach().requires_grad_()
        chosen.append(placed[number])
    return placed, chosen
