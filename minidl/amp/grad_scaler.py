"""GradScaler: the loss is multiplied by a large number, so that small gradients do not round to zero in float16.

The smallest positive float16 is 6e-8; many gradients of a deep net are smaller. Multiplied by the scale all of them
move up by the same factor, and `step` divides it out of the weights' float32 gradients again. The scale itself is found
on the way: a step whose gradients overflow is left out and halves it, and after many steps without it is doubled
(Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2). With bfloat16, which has float32's range, it
is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minidl.core import Tensor, recording, tensor
from minidl.device.dtypes import float16
from minidl.errors import ArgumentError, DTypeError, GradError, StateDictError
from minidl.ops.elementwise import quiet
from minidl.ops.many import ScaleAll
from minidl.optim import Optimizer

__all__ = ["GradScaler"]


class GradScaler:
    """Scales losses, and optimiser steps back; PyTorch's interface.

        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    Args:
        device: where it is meant for; nothing depends on it here.
        init_scale: the first factor.
        growth_factor, backoff_factor: what the scale is multiplied by after `growth_interval` good steps in a row, and
            after an overflow.
        enabled: False makes all calls do what they would without a scaler.

    Raises:
        ArgumentError: if growth_factor is not above 1, or backoff_factor not below.

    >>> import minidl
    >>> w = minidl.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = minidl.optim.SGD([w], lr=0.5), GradScaler("cpu", init_scale=1024.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> scaler.step(optimizer); scaler.update()
    >>> w.item()
    0.0
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if growth_factor <= 1 or backoff_factor >= 1:
            raise ArgumentError(f"GradScaler: growth_factor must be above 1 and backoff_factor below, "
                                f"got {growth_factor} and {backoff_factor}")  # fmt: skip
        self._device, self._enabled = device, enabled
        self._scale, self._good_steps = float(init_scale), 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        # Of each optimizer that was unscaled or stepped since the last update: whether a gradient was not finite.
        self._overflowed: dict[int, bool] = {}
        self._stepped: set[int] = set()

    def scale(self, outputs: Any) -> Any:
        """A loss, or all of a list or tuple of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            with quiet():  # an overflow is what the scale is found by
                return outputs * tensor(self._scale, device=outputs.device)  # float32: widens a 16-bit loss
        if isinstance(outputs, Iterable):
            scaled = [self.scale(output) for output in outputs]
            return tuple(scaled) if isinstance(outputs, tuple) else scaled
        raise ArgumentError(f"GradScaler: scale needs tensors, or lists of them, got {type(outputs).__name__}")

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of the optimizer's weights by the scale; for clipping before `step`, which does it else.

        Raises:
            GradError: for a second call between two updates, or one after `step`.
            DTypeError: for float16 gradients, which would round to zero; the weights must be float32.
        """
        if not self._enabled:
            return
        key = id(optimizer)
        if key in self._stepped:
            raise GradError("GradScaler: unscale_ was called after step; call it before, and update() after")
        if key in self._overflowed:
            raise GradError("GradScaler: unscale_ was called twice since the last update(); once is enough")
        self._overflowed[key] = self._unscaled(optimizer)

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """Let the optimizer step, unless a gradient overflowed; gives what its `step` returns.

        Raises:
            GradError: for a second step without `update()` between.
            ArgumentError: for a closure, which would compute gradients that nobody has unscaled.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise ArgumentError("GradScaler: step takes no closure; compute the loss before, and scale it")
        key = id(optimizer)
        if key in self._stepped:
            raise GradError("GradScaler: step was called twice since the last update(); call update() after each round")
        if key not in self._overflowed:
            self.unscale_(optimizer)
        self._stepped.add(key)
        return None if self._overflowed[key] else optimizer.step()

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Make the scale smaller if a gradient overflowed since the last call, or larger after many good ones.

        Args:
            new_scale: set it to this instead.

        Raises:
            GradError: if no gradients were looked at since the last update.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._overflowed:
            raise GradError("GradScaler: update needs a step or an unscale_ before it")
        elif any(self._overflowed.values()):
            self._scale, self._good_steps = self._scale * self._backoff_factor, 0
        else:
            self._good_steps += 1
            if self._good_steps == self._growth_interval:
                self._scale, self._good_steps = self._scale * self._growth_factor, 0
        self._overflowed.clear()
        self._stepped.clear()

    def _unscaled(self, optimizer: Optimizer) -> bool:
        """Divide the gradients by the scale; whether one is not finite."""
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not grads:
            raise GradError("GradScaler: none of the optimizer's weights has a gradient; call backward() before")
        if any(g.dtype == float16 for g in grads):
            raise DTypeError("GradScaler: gradients are float16, so unscaled they would round to zero; "
                             "keep weights float32 and compute under autocast")  # fmt: skip
        with recording(False):
            ScaleAll.apply(grads, factor=1 / self._scale)
        return not all(bool(g.device.xp.isfinite(g.array).all()) for g in grads)

    # -- settings and state ------------------------------------------------------------------------------------------

    def is_enabled(self) -> bool:
        return self._enabled

    def get_scale(self) -> float:
        """The factor now; 1 for a scaler that is not enabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The scale, its factors, and the good steps so far, under PyTorch's keys; empty if not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._good_steps,
        }  # fmt: skip

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state given by `state_dict`.

        Raises:
            StateDictError: for the empty one of a scaler that was not enabled.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise StateDictError("GradScaler: the state is empty; it comes from a scaler that was not enabled")
        self._scale, self._good_steps = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
