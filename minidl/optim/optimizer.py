"""Optimizer: which weights a step changes, with which settings, and what it remembers of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from minidl.core import Tensor, as_tensor, recording
from minidl.errors import ArgumentError, StateDictError
from minidl.optim.hooks import HookedOptimizer

__all__ = ["Optimizer"]

Group = dict[str, Any]
_COUNTERS = ("step", "mu_product", "eta", "mu")  # float32 on the CPU, whatever the weight is


class Optimizer(HookedOptimizer):
    """Base of all optimizers; a subclass gives `update` or `change`, and `check` for the values of its settings.

    Args:
        params: weights, or dicts {"params": weights, setting: value} for groups with settings of their own. Instead of
            weights, pairs (name, weight), as `named_parameters` gives them; the names are kept under "param_names".
        defaults: the settings of groups that do not say otherwise.

    Raises:
        ArgumentError: if there are no weights, one is given twice, or a setting is out of range.
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for group in _groups(type(self).__name__, params):
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Take in more weights: {"params": weights, setting: value, ...}."""
        name = type(self).__name__
        given = param_group["params"]
        weights, names = _without_names(name, [given] if isinstance(given, Tensor) else list(given))
        if self.param_groups and ("param_names" in self.param_groups[0]) != (names is not None):
            raise ArgumentError(f"{name}: some groups have names and some have none; give pairs (name, weight) in all")
        held = {id(p) for group in self.param_groups for p in group["params"]}
        for position, weight in enumerate(weights):
            _check_weight(name, position, weight)
            if id(weight) in held:
                raise ArgumentError(f"{name}: parameter {position} {weight.shape} was given twice; give each once")
            held.add(id(weight))
        group = {"params": weights, **self.defaults, **{k: v for k, v in param_group.items() if k != "params"}}
        if names is not None:
            group["param_names"] = names
        if isinstance(group.get("lr"), Tensor) and group["lr"].numel() != 1:
            raise ArgumentError(f"{name}: lr must be one number, got a tensor of shape {group['lr'].shape}")
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """Raise an ArgumentError for a setting that is out of range."""

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: Group) -> None:
        """Change one weight in place, and its `state`, which is empty before the first step."""
        raise NotImplementedError(f"{type(self).__name__} has no update(param, grad, state, group), and no step()")

    def change(self, weights: list[Tensor], group: Group) -> None:
        """Change those weights of a group that have a gradient, all at once where the optimizer can."""
        for weight in weights:
            assert weight.grad is not None
            self.update(weight, weight.grad, self.state[weight], group)

    def counted(self, weights: list[Tensor]) -> Iterator[tuple[int, list[Tensor]]]:
        """Count a step of each weight, under "step" in its state; gives the weights by their number of steps."""
        counters: dict[int, Tensor] = {}
        read: dict[int, int] = {}  # the steps of a counter, by the identity of the tensor: most weights share one
        together: dict[int, list[Tensor]] = {}
        for weight in weights:
            state = self.state[weight]
            before = state.get("step", 0)
            step = read.get(id(before))
            if step is None:
                step = read[id(before)] = int(before) + 1
                counters.setdefault(step, Tensor.of(np.array(step, np.float32)))
            state["step"] = counters[step]
            together.setdefault(step, []).append(weight)
        yield from together.items()

    def remembered(self, name: str, weights: list[Tensor], fill: float = 0.0) -> list[Tensor]:
        """What is remembered of each weight under `name`; at first an array like the weight, full of `fill`."""
        found = []
        for weight in weights:
            state = self.state[weight]
            if name not in state:
                state[name] = Tensor.of(weight.device.xp.full_like(weight.array, fill))
            found.append(state[name])
        return found

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every weight that has a gradient.

        Args:
            closure: computes the loss again, `backward` included; what it returns is returned.
        """
        loss = None
        if closure is not None:
            with recording(True):
                loss = closure()
        with recording(False):
            for group in self.param_groups:
                if weights := [param for param in group["params"] if param.grad is not None]:
                    self.change(weights, group)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all weights; False sets them to zero instead."""
        for group in self.param_groups:
            for param in group["params"]:
                param.grad = None if set_to_none or param.grad is None else param.grad.detach().zero_()

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: what is remembered of a weight}, "param_groups": [...]}, in PyTorch's structure.

        Weights are counted over all groups in order; tensors share memory with the optimizer.
        """
        for hook in self._hooks_at("before state_dict"):
            hook(self)
        numbers = {p: i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        state_dict = {
            "state": {numbers[p]: dict(state) for p, state in self.state.items() if state},
            "param_groups": [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups],
        }
        return self._through_hooks("after state_dict", state_dict)  # type: ignore[no-any-return]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state given by `state_dict`, for the same weights in the same groups.

        Raises:
            StateDictError: if it does not fit; nothing is changed then.
        """
        name = type(self).__name__
        state_dict = self._through_hooks("before load_state_dict", state_dict)
        saved = _saved_groups(name, state_dict, [len(group["params"]) for group in self.param_groups])
        groups = [{**g, **{k: v for k, v in s.items() if k != "params"}, "params": g["params"]}
                  for g, s in zip(self.param_groups, saved, strict=True)]  # fmt: skip
        for group in groups:
            self.check(group)
        numbers = [number for group in saved for number in group["params"]]
        weights = dict(zip(numbers, [p for group in groups for p in group["params"]], strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            if number not in weights:
                raise StateDictError(f"{name}: the state remembers weight {number!r}, which is in none of its groups")
            state[weights[number]] = {
                key: self.restored(number, key, value, weights[number]) for key, value in values.items()
            }
        self.param_groups, self.state = groups, state
        for hook in self._hooks_at("after load_state_dict"):
            hook(self)

    def restored(self, number: int, key: str, value: Any, weight: Tensor) -> Any:
        """A remembered value as the optimizer keeps it: a tensor of its own, in the type and place of the weight."""
        if not isinstance(value, (Tensor, np.ndarray)) and not hasattr(value, "__array__"):
            return value
        t = as_tensor(value).detach()
        if t.shape and t.shape != (wanted := self.remembered_shape(key, weight)):
            name = f"{type(self).__name__}: {key} of weight {number}"
            raise StateDictError(
                f"{name} has shape {t.shape}, but must have {wanted}, for the weight is {weight.shape}"
            )
        return t.clone() if key in _COUNTERS else t.to(weight.dtype, weight.device).clone()

    def remembered_shape(self, key: str, weight: Tensor) -> tuple[int, ...]:
        """The shape of what is remembered of a weight under `key`."""
        return weight.shape

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for position, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {position}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


class MomentOptimizer(Optimizer):
    """Base of Adam and its relatives, which keep running means: groups have lr, betas, eps, weight_decay, maximize."""

    others: ClassVar[tuple[str, ...]] = ()  # further settings that are 0 or more

    def check(self, group: Group) -> None:
        check_at_least_zero(self, group, "lr", "eps", "weight_decay", *self.others)
        check_betas(self, group)

    def moment_settings(self, group: Group) -> dict[str, Any]:
        """What all their steps take, from a group."""
        beta1, beta2 = group["betas"]
        settings = {key: group[key] for key in ("eps", "weight_decay", "maximize")}
        settings |= {"lr": float(group["lr"]), "beta1": beta1, "beta2": beta2}
        if "decoupled_weight_decay" in group:
            settings["decoupled"] = group["decoupled_weight_decay"]
        return settings


def require(optimizer: Optimizer, setting: str, value: Any, allowed: bool, words: str) -> None:
    """The sentence for a setting that is out of range."""
    if not allowed:
        raise ArgumentError(f"{type(optimizer).__name__}: {setting} must be {words}, got {value}")


def _groups(name: str, params: Any) -> list[Mapping[str, Any]]:
    """What the user gave as a list of groups; a sentence for what cannot be meant."""
    if hasattr(params, "parameters"):
        raise ArgumentError(f"{name}: got a {type(params).__name__}; give its weights: model.parameters()")
    if isinstance(params, (Tensor, Mapping, str)) or not isinstance(params, Iterable):
        raise ArgumentError(f"{name}: needs a list of weights or of groups, got {type(params).__name__}; put it in []")
    items = list(params)
    if not items:
        raise ArgumentError(
            f"{name}: got no parameters; either the model has none, or model.parameters() was used up before"
        )
    return items if isinstance(items[0], Mapping) else [{"params": items}]


def _without_names(optimizer: str, items: list[Any]) -> tuple[list[Any], list[str] | None]:
    """The weights of a group, and their names if it was given in pairs."""
    are_pairs = [isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in items]
    if not any(are_pairs):
        return items, None
    if not all(are_pairs):
        raise ArgumentError(
            f"{optimizer}: parameter {are_pairs.index(False)} has no name, and others have; name all or none"
        )
    return [weight for _, weight in items], [name for name, _ in items]


def _check_weight(name: str, position: int, weight: Any) -> None:
    if not isinstance(weight, Tensor):
        raise ArgumentError(
            f"{name}: parameter {position} must be a Tensor, got {type(weight).__name__}; give model.parameters()"
        )
    if not weight.is_leaf:
        raise ArgumentError(f"{name}: parameter {position} {weight.shape} was computed; only leaves can be changed")


def _saved_groups(name: str, state_dict: Mapping[str, Any], sizes: list[int]) -> list[Mapping[str, Any]]:
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        raise StateDictError(f"{name}: a state needs the keys 'state' and 'param_groups', as state_dict() gives them")
    saved = list(state_dict["param_groups"])
    given = [len(group["params"]) for group in saved]
    if given != sizes:
        raise StateDictError(f"{name}: the state is for groups of {given} weights, this optimizer has {sizes}")
    return saved


def gradients(weights: Iterable[Tensor]) -> list[Tensor]:
    """The gradients of weights that all have one."""
    return [weight.grad for weight in weights if weight.grad is not None]


def check_at_least_zero(optimizer: Optimizer, group: Group, *settings: str) -> None:
    """Raise an ArgumentError for a setting that is negative or NaN."""
    for setting in settings:
        require(optimizer, setting, group[setting], group[setting] >= 0, "0 or more")


def check_betas(optimizer: Optimizer, group: Group) -> None:
    """Raise an ArgumentError for betas of another kind than Adam's."""
    betas = group["betas"]
    fits = len(betas) == 2 and all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in betas)
    require(optimizer, "betas", group["betas"], fits, "two numbers from 0 up to, not including, 1")


def check_not_differentiable(optimizer: Optimizer, differentiable: bool) -> None:
    """Raise an ArgumentError for an option that would need steps to be recorded."""
    require(optimizer, "differentiable", differentiable, not differentiable, "False; steps are not recorded here")
