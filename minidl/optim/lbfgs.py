"""LBFGS: Newton's direction from the last few steps, for smooth losses that can be computed again at will."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minidl.core import Array, Tensor, recording
from minidl.device import device_of
from minidl.errors import ArgumentError
from minidl.ops import cat
from minidl.ops.many import AddAll
from minidl.optim.line_search import Point, strong_wolfe
from minidl.optim.optimizer import Group, Optimizer, check_at_least_zero, require

__all__ = ["LBFGS"]

_LONG = 1 << 15  # numbers from which passes over memory cost more than calls
_RUN = 4096
_CURVED = 1e-10  # curvature along a step below which it is not remembered


class LBFGS(Optimizer):
    """Limited-memory BFGS. `step` needs a closure that computes the loss again, `backward` included.

    Args:
        params: weights, in one group.
        lr: length of a step relative to Newton's; with a line search, of the first one tried.
        max_iter: steps in one call of `step`.
        max_eval: closures in one call of `step`; 1.25 * max_iter when None.
        tolerance_grad: it is done when no element of the gradient is larger.
        tolerance_change: it is done when the weights, or the loss, change by less.
        history_size: how many steps are remembered; each takes the memory of the weights twice.
        line_search_fn: "strong_wolfe", or None for steps of length lr.

    Source: Nocedal and Wright, Numerical Optimization, 2006, algorithms 7.4 and 7.5.

    >>> weight = Tensor([3.0], requires_grad=True)
    >>> optimizer = LBFGS([weight], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((weight - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> first_loss = optimizer.step(closure)
    >>> weight
    tensor([1.], requires_grad=True)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "tolerance_grad", "tolerance_change")
        require(self, "history_size", group["history_size"], group["history_size"] >= 1, "1 or more")
        search = group["line_search_fn"]
        require(self, "line_search_fn", repr(search), search in (None, "strong_wolfe"), "None or 'strong_wolfe'")

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Take in the weights; there can be one group only."""
        if self.param_groups:
            raise ArgumentError("LBFGS: takes one group of weights; give them all in one list")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Go on to the minimum, up to `max_iter` steps; returns what the closure returned first."""
        if closure is None:
            raise ArgumentError("LBFGS: step needs a closure that computes the loss, backward included, and returns it")
        group = self.param_groups[0]
        state = self.state[group["params"][0]]
        with recording(False):
            return _Run(self, group, state, closure).go()

    def restored(self, number: int, key: str, value: Any, weight: Tensor) -> Any:
        """Vectors are as long as all weights together, and some come in lists."""
        if isinstance(value, (list, tuple)):
            return [self.restored(number, key, item, weight) for item in value]
        if not isinstance(value, Tensor) and not hasattr(value, "__array__"):
            return value
        tensor = value if isinstance(value, Tensor) else Tensor(value)
        return tensor.detach().to(weight.dtype, weight.device).clone() if tensor.ndim else float(tensor)


@dataclass
class _Run:
    """One call of `step`."""

    optimizer: LBFGS
    group: Group
    state: dict[str, Any]
    closure: Callable[[], Any]
    evaluations: int = field(default=0, init=False)

    def go(self) -> Any:
        """Step until one of the tolerances or limits is reached."""
        state, group = self.state, self.group
        first, loss, grad = self.evaluate()
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        is_done = _largest(grad) <= group["tolerance_grad"]
        steps = 0
        while not is_done and steps < group["max_iter"]:
            steps += 1
            state["n_iter"] += 1
            self.turn(grad)
            direction, before = state["d"], loss
            state["prev_flat_grad"], state["prev_loss"] = grad, loss
            is_first = state["n_iter"] == 1
            length = min(1.0, 1.0 / float(abs(grad.array).sum())) * group["lr"] if is_first else float(group["lr"])
            state["t"] = length
            slope = _dot(grad.array, direction.array)
            if slope > -group["tolerance_change"]:
                break
            evaluated = self.evaluations
            loss, grad, length = self.moved(Point(0.0, loss, grad, slope), length, is_last=steps == group["max_iter"])
            state["t"] = length
            state["func_evals"] += self.evaluations - evaluated
            is_done = (
                self.evaluations >= group["max_eval"]
                or _largest(grad) <= group["tolerance_grad"]
                or _largest(direction) * abs(length) <= group["tolerance_change"]
                or abs(loss - before) < group["tolerance_change"]
            )
        return first

    def turn(self, grad: Tensor) -> None:
        """Set the direction of the next step, after remembering the last one."""
        state = self.state
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0, d=-grad)
            return
        change, step = grad - state["prev_flat_grad"], state["d"] * float(state["t"])
        curvature = _dot(change.array, step.array)
        if curvature > _CURVED:
            for name, value in (("old_dirs", change), ("old_stps", step), ("ro", 1.0 / curvature)):
                state[name] = [*state[name], value][-self.group["history_size"] :]
            state["H_diag"] = curvature / _dot(change.array, change.array)
        state["d"] = self.newton(grad)

    def newton(self, grad: Tensor) -> Tensor:
        """The two loops over what is remembered: minus the inverse Hessian, as far as it is known, times `grad`."""
        state = self.state
        pairs = [
            (change.array, step.array, float(inverse))
            for change, step, inverse in zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True)
        ]
        direction, shares = -grad.array, []
        for change, step, inverse in reversed(pairs):
            share = _dot(step, direction) * inverse
            shares.append(share)
            _add(direction, -share, change)
        direction *= float(state["H_diag"])
        for (change, step, inverse), share in zip(pairs, reversed(shares), strict=True):
            _add(direction, share - _dot(change, direction) * inverse, step)
        return Tensor.of(direction)

    def moved(self, start: Point, length: float, *, is_last: bool) -> tuple[float, Tensor, float]:
        """Go along the direction; gives the loss and the gradient there, and how far it was."""
        if self.group["line_search_fn"] is None:
            self.move(length)
            if is_last:  # nobody needs to know
                return start.loss, start.grad, length
            _, loss, grad = self.evaluate()
            return loss, grad, length
        weights = self.group["params"]
        kept = [w.detach().clone() for w in weights]

        def at(t: float) -> Point:
            self.move(t)
            _, loss, grad = self.evaluate()
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)
            return Point(t, loss, grad, _dot(grad.array, self.state["d"].array))

        left = self.group["max_eval"] - self.evaluations
        end = strong_wolfe(at, start, length, _largest(self.state["d"]), left)
        self.move(end.t)
        return end.loss, end.grad, end.t

    def move(self, t: float) -> None:
        """Add t times the direction to the weights."""
        begin = 0
        for weight in self.group["params"]:
            end = begin + weight.numel()
            weight.add_((self.state["d"][begin:end] * t).reshape(*weight.shape))
            begin = end

    def evaluate(self) -> tuple[Any, float, Tensor]:
        """What the closure returns, as it is and as a number, and all gradients as one vector."""
        with recording(True):
            result = self.closure()
        self.evaluations += 1
        weights = self.group["params"]
        grads = [w.detach() * 0 if w.grad is None else w.grad.detach() for w in weights]
        return result, float(result), cat([g.reshape(-1) for g in grads])


def _add(vector: Array, share: float, other: Array) -> None:
    """vector += share * other; in one pass where they are long."""
    if vector.size < _LONG:
        vector += share * other
    else:
        AddAll.apply([Tensor.of(vector)], [Tensor.of(other)], share=share)


def _dot(a: Array, b: Array) -> float:
    """The inner product; not by BLAS, whose sums depend on threads. Long ones in runs, which are added in float64."""
    if a.size < _LONG:
        return float((a * b).sum())
    whole = a.size // _RUN * _RUN
    xp = device_of(a).xp
    runs = xp.einsum("ij,ij->i", a[:whole].reshape(-1, _RUN), b[:whole].reshape(-1, _RUN))
    return float(runs.sum(dtype=xp.float64)) + float((a[whole:] * b[whole:]).sum())


def _largest(a: Tensor) -> float:
    return float(abs(a.array).max())
