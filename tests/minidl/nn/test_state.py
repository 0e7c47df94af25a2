from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import StateDictError


def net(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def values(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: t.numpy().copy() for name, t in module.state_dict().items()}


def test_a_round_trip_gives_the_same_results() -> None:
    one, other, x = net(), net(), minidl.randn(5, 3)
    assert other.load_state_dict(one.state_dict()) == ([], [])
    np.testing.assert_array_equal(one(x).detach().numpy(), other(x).detach().numpy())


def test_state_shares_memory_and_loading_copies() -> None:
    one, other = net(), net()
    other.load_state_dict(one.state_dict())
    with minidl.no_grad():
        one[0].weight.fill_(7.0)
    assert one.state_dict()["0.weight"].numpy().max() == 7
    assert other[0].weight.detach().numpy().max() < 7


def test_loading_keeps_type_and_identity() -> None:
    one = net().double()
    weight = one[0].weight
    one.load_state_dict(values(net()))
    assert one[0].weight is weight
    assert weight.dtype == np.float64


def broken(change) -> dict[str, np.ndarray]:
    state = values(net())
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("2.bias"), "missing: 2.bias"),
        (lambda s: s.update(extra=np.zeros(1)), "unexpected: extra"),
        (lambda s: s.update({"0.bias": np.zeros(5)}), r"of another shape: 0.bias is \(5,\) but must be \(4,\)"),
        (lambda s: (s.pop("0.weight"), s.update(x=np.zeros(1))), "missing: 0.weight; unexpected: x"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_changed(change, message: str) -> None:
    one = net()
    before = values(one)
    with pytest.raises(StateDictError, match=message):
        one.load_state_dict(broken(change))
    for name, now in values(one).items():
        np.testing.assert_array_equal(now, before[name])


def test_a_value_that_is_no_array_changes_nothing() -> None:
    one = net()
    before = values(one)
    with pytest.raises(TypeError):
        one.load_state_dict({**values(net()), "2.bias": "zero"})
    np.testing.assert_array_equal(one[0].weight.detach().numpy(), before["0.weight"])


def test_not_strict_passes_over_names_but_not_over_shapes() -> None:
    one = net()
    state = values(net())
    del state["2.bias"]
    state["extra"] = np.zeros(1)
    assert one.load_state_dict(state, strict=False) == (["2.bias"], ["extra"])
    np.testing.assert_array_equal(one[0].weight.detach().numpy(), state["0.weight"])
    with pytest.raises(StateDictError, match="of another shape"):
        one.load_state_dict(values(net(width=5)), strict=False)


def test_a_prefix_is_found_out() -> None:
    state = {f"module.{name}": array for name, array in values(net()).items()}
    with pytest.raises(StateDictError, match=r"the names only differ by 'module\.' in front"):
        net().load_state_dict(state)


def test_a_long_list_is_cut_short() -> None:
    deep = nn.Sequential(*[nn.Linear(1, 1) for _ in range(20)])
    with pytest.raises(StateDictError, match="and 28 more"):
        deep.load_state_dict({})


def test_something_else_than_a_dict_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a dict of tensors by name, got Sequential"):
        net().load_state_dict(net())


def test_weights_travel_from_pytorch_and_back() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    ours = net()
    ours.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(ours[2].weight.detach().numpy(), theirs[2].weight.detach().numpy())
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in values(net()).items()})
