"""Steps of further optimisers: a row each, a formula and its coefficients. `step.py` says how they run.

In the formulas below, g is the gradient (its negative to maximise) plus weight_decay * param, p the weight, t the
number of the step, counted from 1.
"""

from __future__ import annotations

import math
from typing import Any

from minidl.device.scalar_math import chosen, root
from minidl.ops.step import Step, decay, descent

__all__: list[str] = []


class AdagradStep(Step):
    """total += g²; p -= rate * g / (√total + eps)."""

    name = "adagrad_step"

    @staticmethod
    def coefficients(*, step: int, lr: float, lr_decay: float, eps: float, **decayed: Any) -> dict[str, float]:
        return {**decay(lr, **decayed), "rate": lr / (1 + (step - 1) * lr_decay), "eps": eps}

    @staticmethod
    def rule(param: Any, total: Any, grad: Any, sign: Any, l2: Any, keep: Any, rate: Any, eps: Any) -> Any:
        param, grad = descent(param, grad, sign, l2, keep)
        total = total + grad * grad
        return param - rate * grad / (root(total) + eps), total


class AdadeltaStep(Step):
    """square = rho square + (1 - rho) g²; d = g √(moved + eps) / √(square + eps); moved likewise of d²; p -= lr d."""

    name = "adadelta_step"

    @staticmethod
    def coefficients(*, lr: float, rho: float, eps: float, **decayed: Any) -> dict[str, float]:
        return {**decay(lr, **decayed), "lr": lr, "old": rho, "new": 1 - rho, "eps": eps}

    @staticmethod
    def rule(
        param: Any, square: Any, moved: Any, grad: Any, sign: Any, l2: Any, keep: Any, lr: Any, old: Any, new: Any,
        eps: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        square = old * square + new * grad * grad
        change = root(moved + eps) / root(square + eps) * grad
        return param - lr * change, square, old * moved + new * change * change


class AdamaxStep(Step):
    """mean as Adam's; largest = max(beta2 * largest, |g| + eps); p -= rate * mean / largest."""

    name = "adamax_step"

    @staticmethod
    def coefficients(
        *, step: int, lr: float, beta1: float, beta2: float, eps: float, **decayed: Any
    ) -> dict[str, float]:
        rate = lr / (1 - beta1**step)
        return {**decay(lr, **decayed), "new_mean": 1 - beta1, "fading": beta2, "rate": rate, "eps": eps}

    @staticmethod
    def rule(
        param: Any, mean: Any, largest: Any, grad: Any, sign: Any, l2: Any, keep: Any, new_mean: Any, fading: Any,
        rate: Any, eps: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        mean = mean + new_mean * (grad - mean)
        faded, size = fading * largest, abs(grad) + eps
        largest = chosen(size <= faded, faded, size)  # so NaN wins
        return param - rate * mean / largest, mean, largest


class AdafactorStep(Step):
    """`change` becomes g / √max(variance, floor), variance += share * (g² - variance); p itself stays."""

    name = "adafactor_step"

    @staticmethod
    def coefficients(*, share: float, floor: float) -> dict[str, float]:
        return {"share": share, "floor": floor}

    @staticmethod
    def rule(param: Any, variance: Any, change: Any, grad: Any, share: Any, floor: Any) -> Any:
        variance = variance + share * (grad * grad - variance)
        held = chosen(variance < floor, floor, variance)  # NaN stays NaN
        return param, variance, grad / root(held)


class ASGDStep(Step):
    """p = (1 - lambd * eta) * p - eta * g; average += mu * (p - average), and p itself where mu is 1."""

    name = "asgd_step"

    @staticmethod
    def coefficients(
        *, eta: float, mu: float, lambd: float, weight_decay: float, maximize: bool
    ) -> dict[str, float]:  # fmt: skip
        return {
            "sign": -1.0 if maximize else 1.0, "l2": weight_decay, "keep": 1 - lambd * eta, "eta": eta, "mu": mu,
            "one": 1.0,
        }  # fmt: skip

    @staticmethod
    def rule(
        param: Any, average: Any, grad: Any, sign: Any, l2: Any, keep: Any, eta: Any, mu: Any, one: Any
    ) -> Any:  # fmt: skip
        param = keep * param - eta * (sign * grad + l2 * param)
        return param, chosen(mu < one, average + mu * (param - average), param)


class NAdamStep(Step):
    """Adam with Nesterov's look ahead: p -= (of_grad * g + of_mean * mean) / (√(square / (1 - beta2^t)) + eps)."""

    name = "nadam_step"

    @staticmethod
    def coefficients(
        *, step: int, lr: float, beta1: float, beta2: float, eps: float, momentum_decay: float, mu_product: float,
        **decayed: Any,
    ) -> dict[str, float]:  # fmt: skip
        """`mu_product` is the product of `nadam_momentum` over all steps up to this one."""
        mu, mu_next = (nadam_momentum(t, beta1, momentum_decay) for t in (step, step + 1))
        bias = math.sqrt(1 - beta2**step)
        return {
            **decay(lr, **decayed), "new_mean": 1 - beta1, "old_square": beta2, "new_square": 1 - beta2,
            "of_grad": lr * bias * (1 - mu) / (1 - mu_product),
            "of_mean": lr * bias * mu_next / (1 - mu_product * mu_next), "eps": eps * bias,
        }  # fmt: skip

    @staticmethod
    def rule(
        param: Any, mean: Any, square: Any, grad: Any, sign: Any, l2: Any, keep: Any, new_mean: Any, old_square: Any,
        new_square: Any, of_grad: Any, of_mean: Any, eps: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        mean = mean + new_mean * (grad - mean)
        square = old_square * square + new_square * grad * grad
        return param - (of_grad * grad + of_mean * mean) / (root(square) + eps), mean, square


def nadam_momentum(step: int, beta1: float, momentum_decay: float) -> float:
    """The momentum of step number `step`: it warms up to beta1."""
    return beta1 * (1 - 0.5 * math.pow(0.96, step * momentum_decay))


class RAdamStep(Step):
    """Adam once the variance of its scale is small enough (r_t > 5); plain momentum until then."""

    name = "radam_step"

    @staticmethod
    def coefficients(
        *, step: int, lr: float, beta1: float, beta2: float, eps: float, **decayed: Any
    ) -> dict[str, float]:
        rate, bias = lr / (1 - beta1**step), 1 - beta2**step
        most = 2 / (1 - beta2) - 1
        length = most - 2 * step * beta2**step / bias
        rectified = length > 5
        scale = 0.0
        if rectified:
            scale = math.sqrt(bias * (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length))
        return {
            **decay(lr, **decayed), "new_mean": 1 - beta1, "old_square": beta2, "new_square": 1 - beta2,
            "plain": 0.0 if rectified else rate, "scaled": rate * scale,
            "eps": eps if rectified else 1.0,  # of no account then, and 0 / 0 must not be
        }  # fmt: skip

    @staticmethod
    def rule(
        param: Any, mean: Any, square: Any, grad: Any, sign: Any, l2: Any, keep: Any, new_mean: Any, old_square: Any,
        new_square: Any, plain: Any, scaled: Any, eps: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        mean = mean + new_mean * (grad - mean)
        square = old_square * square + new_square * grad * grad
        return param - (plain * mean + scaled * mean / (root(square) + eps)), mean, square


class LAMBStep(Step):
    """`change` becomes Adam's mean / (√square + eps), biases taken out, plus weight_decay * p; p itself stays."""

    name = "lamb_step"

    @staticmethod
    def coefficients(
        *, step: int, beta1: float, beta2: float, eps: float, weight_decay: float, maximize: bool
    ) -> dict[str, float]:
        bias = math.sqrt(1 - beta2**step)
        return {
            "sign": -1.0 if maximize else 1.0, "new_mean": 1 - beta1, "old_square": beta2, "new_square": 1 - beta2,
            "scale": bias / (1 - beta1**step), "eps": eps * bias, "decay": weight_decay,
        }  # fmt: skip

    @staticmethod
    def rule(
        param: Any, mean: Any, square: Any, change: Any, grad: Any, sign: Any, new_mean: Any, old_square: Any,
        new_square: Any, scale: Any, eps: Any, decay: Any,
    ) -> Any:  # fmt: skip
        grad = sign * grad
        mean = mean + new_mean * (grad - mean)
        square = old_square * square + new_square * grad * grad
        return param, mean, square, scale * mean / (root(square) + eps) + decay * param


class RpropStep(Step):
    """size grows where the gradient keeps its sign and shrinks where it changes; p -= sign(g) * size.

    Where the sign has changed, the gradient counts as 0 in this step and the next.
    """

    name = "rprop_step"

    @staticmethod
    def coefficients(
        *, shrink: float, grow: float, smallest: float, largest: float, maximize: bool
    ) -> dict[str, float]:  # fmt: skip
        return {
            "sign": -1.0 if maximize else 1.0, "zero": 0.0, "one": 1.0, "shrink": shrink, "grow": grow,
            "smallest": smallest, "largest": largest,
        }  # fmt: skip

    @staticmethod
    def rule(
        param: Any, last: Any, size: Any, grad: Any, sign: Any, zero: Any, one: Any, shrink: Any, grow: Any,
        smallest: Any, largest: Any,
    ) -> Any:  # fmt: skip
        grad = sign * grad
        agreement = grad * last
        size = size * chosen(agreement > zero, grow, chosen(agreement < zero, shrink, one))
        size = chosen(size > largest, largest, chosen(size < smallest, smallest, size))
        grad = chosen(agreement < zero, zero, grad)
        direction = chosen(grad > zero, one, chosen(grad < zero, -one, grad))  # NaN stays NaN
        return param - direction * size, grad, size


class RMSpropStep(Step):
    """square = alpha square + (1 - alpha) g²; p -= lr g / (√square + eps)."""

    name = "rmsprop_step"

    @staticmethod
    def coefficients(*, lr: float, alpha: float, eps: float, **decayed: Any) -> dict[str, float]:
        return {**decay(lr, **decayed), "lr": lr, "old": alpha, "new": 1 - alpha, "eps": eps}

    @staticmethod
    def rule(
        param: Any, square: Any, grad: Any, sign: Any, l2: Any, keep: Any, lr: Any, old: Any, new: Any, eps: Any
    ) -> Any:
        param, grad = descent(param, grad, sign, l2, keep)
        square = old * square + new * grad * grad
        return param - lr * grad / (root(square) + eps), square


class RMSpropMomentumStep(Step):
    """RMSprop with momentum: velocity = momentum * velocity + g / (√square + eps); p -= lr velocity."""

    name = "rmsprop_momentum_step"

    @staticmethod
    def coefficients(*, momentum: float, **settings: Any) -> dict[str, float]:
        return {**RMSpropStep.coefficients(**settings), "momentum": momentum}

    @staticmethod
    def rule(
        param: Any, square: Any, velocity: Any, grad: Any, sign: Any, l2: Any, keep: Any, lr: Any, old: Any, new: Any,
        eps: Any, momentum: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        square = old * square + new * grad * grad
        velocity = momentum * velocity + grad / (root(square) + eps)
        return param - lr * velocity, square, velocity


class CentredRMSpropStep(Step):
    """RMSprop by the variance of the gradient: mean = alpha mean + (1 - alpha) g; √(square - mean²) divides."""

    name = "centred_rmsprop_step"
    coefficients = RMSpropStep.coefficients

    @staticmethod
    def rule(
        param: Any, square: Any, mean: Any, grad: Any, sign: Any, l2: Any, keep: Any, lr: Any, old: Any, new: Any,
        eps: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        square = old * square + new * grad * grad
        mean = mean + new * (grad - mean)
        return param - lr * grad / (root(square - mean * mean) + eps), square, mean


class CentredRMSpropMomentumStep(Step):
    """RMSprop by the variance of the gradient, with momentum."""

    name = "centred_rmsprop_momentum_step"
    coefficients = RMSpropMomentumStep.coefficients

    @staticmethod
    def rule(
        param: Any, square: Any, mean: Any, velocity: Any, grad: Any, sign: Any, l2: Any, keep: Any, lr: Any, old: Any,
        new: Any, eps: Any, momentum: Any,
    ) -> Any:  # fmt: skip
        param, grad = descent(param, grad, sign, l2, keep)
        square = old * square + new * grad * grad
        mean = mean + new * (grad - mean)
        velocity = momentum * velocity + grad / (root(square - mean * mean) + eps)
        return param - lr * velocity, square, mean, velocity
