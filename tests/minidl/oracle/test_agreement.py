"""Every op, layer, optimizer and error that PyTorch's lists have under a name of ours does the same here."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from docs.reference.agreement import PAGE  # noqa: E402 - they need PyTorch
from tests.minidl.oracle.excuses import (  # noqa: E402
    SAMPLES,
    SLACK,
    VALUES_ONLY,
    WRONG_CALLS,
    Sample,
    optimizer_excuse,
)
from tests.minidl.oracle.modules import judge_module, shared_modules  # noqa: E402
from tests.minidl.oracle.optimizers import judge_optimizer, name_of, shared_optimizers  # noqa: E402
from tests.minidl.oracle.pytorch import module_db, op_db, optim_db  # noqa: E402
from tests.minidl.oracle.samples import full_name, judge, shared_ops  # noqa: E402

OPS, MODULES, OPTIMIZERS = shared_ops(), shared_modules(), shared_optimizers()
each_op = pytest.mark.parametrize("op", OPS, ids=full_name)
each_module = pytest.mark.parametrize("info", MODULES, ids=lambda info: info.name)


@each_op
def test_first_samples_agree(op) -> None:
    """The first two samples of each element type, and the first two wrong calls."""
    assert judge(op, limit=2).failed == []


@each_module
def test_layers_agree(info) -> None:
    """The first sample of each element type, in training and in eval."""
    assert judge_module(info, limit=1).failed == []


@pytest.mark.parametrize("info", OPTIMIZERS, ids=name_of)
def test_optimizers_agree(info) -> None:
    """All settings; the list is short."""
    assert judge_optimizer(info).failed == []


def test_optimizers_have_many_settings_and_wrong_ones() -> None:
    wrong = [bad.optimizer_error_input.desc for info in OPTIMIZERS
             for bad in info.optim_error_inputs_func(device="cpu", dtype=torch.float64)]  # fmt: skip
    assert sum(len(info.optim_inputs_func(device="cpu")) for info in OPTIMIZERS) > 60
    assert len([desc for desc in wrong if not optimizer_excuse(desc)]) > 70


def test_the_list_of_optimizers_is_the_one_that_is_known() -> None:
    """A new optimizer of PyTorch's is to be built or to be named here."""
    from minidl import optim

    names = {name_of(info) for info in optim_db}
    assert names - {name_of(info) for info in OPTIMIZERS} == {"Muon", "SparseAdam"}
    assert {n for n in optim.__all__ if isinstance(getattr(optim, n), type)} - names == {"LAMB", "Optimizer"}


@pytest.mark.long
@each_op
def test_every_sample_agrees(op) -> None:
    assert judge(op).failed == []


@pytest.mark.long
@each_module
def test_every_sample_of_layers_agrees(info) -> None:
    assert judge_module(info).failed == []


def test_a_wrong_value_and_a_wrong_gradient_are_noticed(monkeypatch) -> None:
    import minidl

    (op,) = (op for op in op_db if op.name == "sinh")
    right = minidl.sinh
    monkeypatch.setattr(minidl, "sinh", lambda x: right(x) * (1 + 1e-5))
    assert judge(op, limit=1).failed
    monkeypatch.setattr(minidl, "sinh", lambda x: right(x) + (x - x.detach()) * 1e-5)
    (failure, *_) = judge(op, limit=1).failed
    assert "gradient" in failure


def test_a_wrong_call_that_goes_through_is_noticed(monkeypatch) -> None:
    import minidl

    (op,) = (op for op in op_db if op.name == "dot")
    monkeypatch.setattr(minidl, "dot", lambda x, y: x.sum() * y.sum())
    assert any("was not refused" in failure for failure in judge(op).failed)


def test_a_wrong_step_is_noticed(monkeypatch) -> None:
    from minidl.ops.steps import RAdamStep

    (info,) = (info for info in OPTIMIZERS if name_of(info) == "RAdam")
    right = RAdamStep.coefficients
    monkeypatch.setattr(RAdamStep, "coefficients", lambda **settings: right(**settings) | {"new_mean": 0.1001})
    assert len(judge_optimizer(info).failed) == len(info.optim_inputs_func(device="cpu"))


def test_every_excuse_names_an_op_and_gives_one_sentence() -> None:
    names = {full_name(op) for op in op_db} | {info.name for info in module_db}
    for row in (*SAMPLES, *WRONG_CALLS):
        assert row.op is None or row.op in names
        assert len(row.reason) > 20
        assert not row.reason.endswith(".")
    assert set(SLACK) | set(VALUES_ONLY) <= names


def test_the_page_lists_all_that_is_compared() -> None:
    listed = {line.split("|")[1].strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "}
    assert {full_name(op) for op in OPS} | {info.name for info in MODULES} | set(map(name_of, OPTIMIZERS)) <= listed


def test_samples_are_shown_in_one_line() -> None:
    shown = str(Sample("add", torch.float32, torch.zeros(2, 3), (1,), {"alpha": 2}, None))
    assert shown == "add(float32[2, 3], 1, alpha=2)"
