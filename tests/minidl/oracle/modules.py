"""One layer against PyTorch's samples of it: values, gradients of inputs and parameters, state_dict keys and shapes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import minidl
from minidl import Tensor
from tests.minidl.oracle.bridge import DTYPES, NotHere, ours, tensors
from tests.minidl.oracle.compare import check_gradients, check_results
from tests.minidl.oracle.excuses import VALUES_ONLY, Sample, excuse_for
from tests.minidl.oracle.pytorch import module_db, torch
from tests.minidl.oracle.samples import Verdict

FLOATING = (torch.float64, torch.float32)


def shared_modules() -> list[Any]:
    """The entries of PyTorch's list of layers that are here under the same name."""
    return [info for info in module_db if hasattr(minidl.nn, info.name.removeprefix("nn."))]


def judge_module(info: Any, limit: int | None = None) -> Verdict:
    """Run the samples of a layer in training and in eval, at most `limit` of each kind."""
    verdict = Verdict(info.name)
    for dtype in FLOATING:
        for training in (True, False):
            for count, sample in enumerate(_samples(info, dtype, training)):
                if limit is None or count < limit:
                    _judge(info, sample, dtype, training, verdict)
    return verdict


def _samples(info: Any, dtype: torch.dtype, training: bool) -> Iterator[Any]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)


def _judge(info: Any, sample: Any, dtype: torch.dtype, training: bool, verdict: Verdict) -> None:
    made, fed = sample.constructor_input, sample.forward_input
    call = Sample(info.name, dtype, None, made.args, made.kwargs, None)
    if fed is None:
        return
    shown = f"{call} fed {Sample('', dtype, None, fed.args, fed.kwargs, None)}"
    if reason := excuse_for(call._replace(input=fed)):
        verdict.excused[reason] += 1
        return
    try:
        verdict.gradients += _agrees(info, made, fed, dtype, training)
        verdict.passed += 1
    except NotHere as reason:
        verdict.excused[str(reason)] += 1
    except Exception as error:  # whatever goes wrong in our code is a failure of the layer
        verdict.failed.append(f"{shown}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _agrees(info: Any, made: Any, fed: Any, dtype: torch.dtype, training: bool) -> int:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs = info.module_cls(*made.args, **made.kwargs).to(dtype)
        mine = getattr(minidl.nn, info.name.removeprefix("nn."))(*ours(made.args), **ours(made.kwargs))
        mine.to(DTYPES[dtype])
        theirs.train(training)
        mine.train(training)
        if isinstance(theirs, torch.nn.modules.lazy.LazyModuleMixin):
            theirs(*fed.args, **fed.kwargs)  # so that there are weights for ours to load
        _carry_weights(mine, theirs)
        fed_to_ours = ours((fed.args, fed.kwargs))
        wanted, given = theirs(*fed.args, **fed.kwargs), mine(*fed_to_ours[0], **fed_to_ours[1])
        slack = 8.0 if dtype == torch.float32 else 1.0  # a layer chains many roundings of float32
        check_results(given, wanted, slack=slack)
        leaves = [*tensors((fed.args, fed.kwargs), torch.Tensor), *theirs.parameters()]
        our_leaves = [*tensors(fed_to_ours, Tensor), *mine.parameters()]
        compared = 0 if info.name in VALUES_ONLY else check_gradients(given, wanted, our_leaves, leaves, slack)
        for name, value in theirs.state_dict().items():  # running statistics after the call
            check_results(mine.state_dict()[name], value, slack=slack)
        return compared


def _carry_weights(mine: Any, theirs: Any) -> None:
    """Load PyTorch's state_dict into ours, whose keys, shapes and order of parameters must be the same."""
    state = theirs.state_dict()
    assert list(mine.state_dict()) == list(state), f"keys {list(state)} are wanted, got {list(mine.state_dict())}"
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in mine.named_parameters()] == names, f"parameters {names} are wanted"
    mine.load_state_dict({name: ours(value.detach()) for name, value in state.items()})
