"""Derivatives of functions: Jacobians, Hessians, and their products with vectors.

All are made of backward passes. A product with a vector on the right, J v, comes from two of them: the vector-Jacobian
product u -> uᵀ J is linear in u, and its derivative with respect to u, weighted by v, is J v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from minidl.autograd.differentiate import grad
from minidl.core import Tensor, recording, registry
from minidl.errors import ArgumentError, GradError, ShapeError

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Function: TypeAlias = Callable[..., Any]
Tensors: TypeAlias = "Tensor | tuple[Tensor, ...]"


def vjp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]:
    """The value of `func` at `inputs`, and vᵀ J: the gradient of its outputs weighted by `v`.

    Args:
        func: takes the tensors of `inputs`, gives a tensor or a tuple of them.
        inputs: a tensor or a tuple of them, floating.
        v: in the form of the outputs; may be left out for a single output of one element.
        create_graph: make the results differentiable.
        strict: refuse outputs that do not depend on an input; they count as zero otherwise.

    Raises:
        GradError: if `strict` and an output depends on no input.
        ShapeError: if `v` does not have the shapes of the outputs.

    >>> vjp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))[1]
    tensor([ 2., 40.])
    """
    with recording(True):
        xs, outputs = _evaluated("vjp", func, inputs, create_graph)
        weights = _directions("vjp", v, outputs, "outputs")
        found = _gradients("vjp", outputs.tensors, xs.tensors, weights, create_graph, strict)
    return outputs.given(create_graph), xs.like(found, create_graph)


def jvp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]:
    """The value of `func` at `inputs`, and J v: the derivative of its outputs along the direction `v`.

    The arguments are those of `vjp`; `v` is in the form of the inputs.

    >>> jvp(lambda x: x * x, Tensor([1.0, 2.0]), Tensor([1.0, 10.0]))[1]
    tensor([ 2., 40.])
    """
    with recording(True):
        xs, outputs = _evaluated("jvp", func, inputs, create_graph)
        along = _directions("jvp", v, xs, "inputs")
        weights = [_zeros(t).requires_grad_() for t in outputs.tensors]
        pulled = _gradients("jvp", outputs.tensors, xs.tensors, weights, True, strict)
        found = _gradients("jvp", pulled, weights, along, create_graph, strict)
    return outputs.given(create_graph), outputs.like(found, create_graph)


def vhp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Tensors]:
    """The value of `func`, one number, at `inputs`, and vᵀ H, with H the matrix of its second derivatives.

    The arguments are those of `vjp`; `v` is in the form of the inputs.
    """
    with recording(True):
        xs, outputs = _evaluated("vhp", func, inputs, create_graph)
        value = _one_number("vhp", outputs)
        along = _directions("vhp", v, xs, "inputs")
        first = _gradients("vhp", [value], xs.tensors, None, True, strict)
        found = _gradients("vhp", first, xs.tensors, along, create_graph, strict)
    return outputs.given(create_graph), xs.like(found, create_graph)  # type: ignore[return-value]


def hvp(
    func: Function, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Tensors]:
    """The value of `func`, one number, at `inputs`, and H v; as H is symmetric, the same as `vhp`.

    >>> hvp(lambda x: (x**3).sum(), Tensor([1.0, 2.0]), Tensor([1.0, 1.0]))[1]
    tensor([ 6., 12.])
    """
    return vhp(func, inputs, v, create_graph, strict)


def jacobian(
    func: Function,
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """All first derivatives of `func` at `inputs`: a row for each element of the outputs.

    Args:
        func, inputs, create_graph, strict: as for `vjp`.
        vectorize: PyTorch's way to compute the same; ignored.
        strategy: "reverse-mode" takes a backward pass for each element of the outputs, "forward-mode" a derivative
            along each element of the inputs: better where outputs are many.

    Returns:
        A tensor of shape (*output, *input); a tuple over the inputs if they are a tuple; a tuple of those over the
        outputs if they are a tuple.

    >>> jacobian(lambda x: x * x, Tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ArgumentError(f"jacobian: strategy must be 'reverse-mode' or 'forward-mode', got {strategy!r}")
    with recording(True):
        xs, outputs = _evaluated("jacobian", func, inputs, create_graph)
        by_column = strategy == "forward-mode"
        blocks = (_columns if by_column else _rows)(outputs.tensors, xs.tensors, create_graph, strict)
    rows = [xs.like(row, create_graph) for row in blocks]
    return tuple(rows) if outputs.is_tuple else rows[0]


def hessian(
    func: Function,
    inputs: Tensors,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """All second derivatives of `func`, which gives one number, at `inputs`.

    Returns:
        A tensor of shape (*input, *input), or a tuple of tuples over the inputs if they are a tuple.

    >>> hessian(lambda x, y: (x * x * y).sum(), (Tensor([1.0]), Tensor([3.0])))[0]
    (tensor([[6.]]), tensor([[2.]]))
    """

    def gradient(*tensors: Tensor) -> Tensors:
        xs = _Bundle(tensors)
        value = _one_number("hessian", _Bundle(func(*tensors)))
        return xs.like(_gradients("hessian", [value], list(tensors), None, True, strict), True)

    given = _Bundle(inputs)

    def one_or_tuple(*tensors: Tensor) -> Tensors:
        found = gradient(*tensors)
        return found if given.is_tuple else found[0]

    return jacobian(one_or_tuple, inputs, create_graph, strict, strategy=outer_jacobian_strategy)


class _Bundle:
    """Tensors, and whether they came, and shall be given back, as a tuple."""

    def __init__(self, tensors: Any) -> None:
        self.is_tuple = isinstance(tensors, (tuple, list))
        self.tensors: list[Tensor] = list(tensors) if self.is_tuple else [tensors]

    def given(self, linked: bool) -> Tensors:
        return self.like(self.tensors, linked)

    def like(self, tensors: Sequence[Tensor], linked: bool) -> Tensors:
        """Other tensors in the same form; off the tape unless `linked`."""
        kept = tuple([t if linked else t.detach() for t in tensors])
        return kept if self.is_tuple else kept[0]


def _evaluated(name: str, func: Function, inputs: Tensors, create_graph: bool) -> tuple[_Bundle, _Bundle]:
    """The inputs as tensors to differentiate by, and the outputs."""
    given = _Bundle(inputs)
    for position, t in enumerate(given.tensors):
        if not isinstance(t, Tensor):
            raise ArgumentError(f"{name}: inputs must be tensors, number {position} is a {type(t).__name__}")
    if create_graph:  # a step of its own for each, so that the results stay differentiable by what the user gave
        given.tensors = [t.view(t.shape) if t.requires_grad else t.detach().requires_grad_() for t in given.tensors]
    else:
        given.tensors = [t.detach().requires_grad_() for t in given.tensors]
    outputs = _Bundle(func(*given.tensors))
    for position, t in enumerate(outputs.tensors):
        if not isinstance(t, Tensor):
            raise ArgumentError(f"{name}: func must give tensors, result {position} is a {type(t).__name__}")
    return given, outputs


def _directions(name: str, v: Tensors | None, like: _Bundle, what: str) -> list[Tensor]:
    if v is None:
        if len(like.tensors) != 1 or like.tensors[0].numel() != 1:
            raise ShapeError(f"{name}: v may only be left out for {what} of one element; give v in their form")
        return [_ones(like.tensors[0])]
    vectors = _Bundle(v).tensors
    if [t.shape for t in vectors] != [t.shape for t in like.tensors]:
        raise ShapeError(f"{name}: v must have the shapes of the {what}, {[t.shape for t in like.tensors]}, "
                         f"got {[t.shape for t in vectors]}")  # fmt: skip
    return vectors


def _one_number(name: str, outputs: _Bundle) -> Tensor:
    if len(outputs.tensors) != 1 or outputs.tensors[0].numel() != 1:
        shapes = [t.shape for t in outputs.tensors]
        raise ShapeError(f"{name}: func must give one number, it gave shapes {shapes}; use its sum, or jacobian")
    return outputs.tensors[0]


def _gradients(
    name: str, outputs: Sequence[Tensor], inputs: list[Tensor], weights: list[Tensor] | None, create: bool, strict: bool
) -> list[Tensor]:
    """The gradients of those outputs that depend on something; zeros where nothing does."""
    pairs = list(zip(outputs, weights or [_ones(t) for t in outputs], strict=True))
    live = [(t, w) for t, w in pairs if t.grad_fn is not None or t.requires_grad]
    if strict and len(live) < len(pairs):
        raise GradError(f"{name}: an output does not depend on the inputs; strict=False takes its derivative as zero")
    if not live:
        return [_zeros(t) for t in inputs]
    found = grad([t for t, _ in live], inputs, [w for _, w in live], True, create, allow_unused=True)
    if strict and any(g is None for g in found):
        position = next(i for i, g in enumerate(found) if g is None)
        raise GradError(f"{name}: the outputs do not depend on input {position}; strict=False takes that as zero")
    return [_zeros(t) if g is None else g for t, g in zip(inputs, found, strict=True)]


def _rows(outputs: list[Tensor], inputs: list[Tensor], create: bool, strict: bool) -> list[list[Tensor]]:
    """The blocks of the Jacobian, by output and input: one backward pass for each element of an output."""
    blocks = []
    for output in outputs:
        rows = [_gradients("jacobian", [output], inputs, [w], create, strict) for w in _units(output)]
        blocks.append([_stacked([row[i] for row in rows], (*output.shape, *x.shape), x) for i, x in enumerate(inputs)])
    return blocks


def _columns(outputs: list[Tensor], inputs: list[Tensor], create: bool, strict: bool) -> list[list[Tensor]]:
    """The same by derivatives along each element of an input."""
    weights = [_zeros(t).requires_grad_() for t in outputs]
    pulled = _gradients("jacobian", outputs, inputs, weights, True, strict)
    blocks: list[list[Tensor]] = [[] for _ in outputs]
    for x, g in zip(inputs, pulled, strict=True):
        columns = [_gradients("jacobian", [g], weights, [v], create, strict) for v in _units(x)]
        for i, output in enumerate(outputs):
            turned = _stacked([column[i] for column in columns], (*x.shape, *output.shape), output)
            order = [*range(x.ndim, x.ndim + output.ndim), *range(x.ndim)]
            blocks[i].append(turned.permute(order) if order else turned)
    return blocks


def _stacked(rows: list[Tensor], shape: tuple[int, ...], like: Tensor) -> Tensor:
    if not rows:
        return Tensor.of(like.device.xp.zeros(shape, like.dtype))
    joined: Tensor = registry.call("stack", rows).reshape(shape)
    return joined


def _units(like: Tensor) -> list[Tensor]:
    """For each element of `like`, a tensor that is one there and zero elsewhere."""
    xp = like.device.xp
    unit = xp.eye(like.numel(), dtype=like.dtype)
    return [Tensor.of(unit[i].reshape(like.shape)) for i in range(like.numel())]


def _zeros(like: Tensor) -> Tensor:
    return Tensor.of(like.device.xp.zeros(like.shape, like.dtype))


def _ones(like: Tensor) -> Tensor:
    return Tensor.of(like.device.xp.ones(like.shape, like.dtype))
