"""One optimizer against PyTorch's samples of it: weights after ten steps with each setting, and wrong settings."""

from __future__ import annotations

from typing import Any

import numpy as np

import minidl
from minidl import Tensor
from minidl.errors import MinidlError
from tests.minidl.oracle.bridge import NotHere, ours
from tests.minidl.oracle.excuses import optimizer_excuse
from tests.minidl.oracle.pytorch import optim_db, torch
from tests.minidl.oracle.samples import Verdict

STEPS = 10


def name_of(info: Any) -> str:
    return str(info.optim_cls.__name__)


def shared_optimizers() -> list[Any]:
    """The entries of PyTorch's list of optimizers that are here under the same name."""
    return [info for info in optim_db if hasattr(minidl.optim, name_of(info))]


def judge_optimizer(info: Any, limit: int | None = None) -> Verdict:
    """Run the settings that PyTorch's list has for an optimizer, in float64, and what it says must be refused.

    Args:
        limit: the most of each.
    """
    verdict = Verdict(name_of(info))
    for sample in info.optim_inputs_func(device="cpu")[:limit]:
        _judge_settings(verdict, sample.desc, sample.kwargs)
    for wrong in info.optim_error_inputs_func(device="cpu", dtype=torch.float64)[:limit]:
        sample = wrong.optimizer_error_input
        if reason := optimizer_excuse(sample.desc):
            verdict.excused[reason] += 1
        else:
            _judge_wrong_settings(verdict, sample)
    return verdict


def _judge_settings(verdict: Verdict, shown: str, settings: dict[str, Any]) -> None:
    try:
        pairs = zip(_trained(minidl, verdict.name, _converted(settings)), _trained(torch, verdict.name, settings),
                    strict=True)  # fmt: skip
        tolerance = 1e-7 if verdict.name == "LBFGS" else 1e-11  # LBFGS divides small differences, so roundings blow up
        for given, wanted in pairs:
            np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance)
        verdict.passed += 1
    except Exception as error:  # whatever goes wrong in our code is a failure of the optimizer
        verdict.failed.append(f"{verdict.name} {shown}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _judge_wrong_settings(verdict: Verdict, sample: Any) -> None:
    try:
        weights = [minidl.nn.Parameter(minidl.ones(2))] if sample.params is None else _converted(sample.params)
        getattr(minidl.optim, verdict.name)(weights, **_converted(sample.kwargs))
    except NotHere as reason:
        verdict.excused[str(reason)] += 1
    except MinidlError as error:
        if str(error).startswith(f"{verdict.name}: "):
            verdict.rejected += 1
        else:
            verdict.failed.append(f"wrong call {sample.desc}: the sentence does not name {verdict.name}: {error}")
    except Exception as error:
        verdict.failed.append(f"wrong call {sample.desc}: raised {type(error).__name__}: {error}, no sentence of ours")
    else:
        verdict.failed.append(f"wrong call {sample.desc}: was not refused")


def _converted(value: Any, made: dict[int, Tensor] | None = None) -> Any:
    """`ours`, with parameters as Parameters; a tensor that is there twice is one here too."""
    made = {} if made is None else made
    if isinstance(value, torch.nn.Parameter):
        return made.setdefault(id(value), minidl.nn.Parameter(ours(value.detach())))
    if isinstance(value, dict):
        return {key: _converted(part, made) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_converted(part, made) for part in value)
    return ours(value, made)


def _trained(lib: Any, name: str, settings: dict[str, Any]) -> list[np.ndarray]:
    """Least squares: some steps of a matrix and a vector towards a target."""
    rng = np.random.default_rng(0)
    data, target = (lib.tensor(rng.standard_normal(shape)) for shape in ((6, 4), (6, 3)))
    weights = [lib.nn.Parameter(lib.tensor(rng.standard_normal(shape))) for shape in ((4, 3), (3,))]
    optimizer = getattr(lib.optim, name)(weights, **settings)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((data @ weights[0] + weights[1] - target) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(STEPS):
        optimizer.step(closure)
    return [w.detach().numpy() for w in weights]
