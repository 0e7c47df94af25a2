from __future__ import annotations

import inspect

import numpy as np
import pytest

import minidl
from minidl.nn import functional as F
from minidl.testing import draw

# Arguments that PyTorch keeps for code written before 2018.
DEPRECATED = {"size_average", "reduce", "_stacklevel"}
# Left out so far; each call that needs one gets a TypeError that names it.
LEFT_OUT = {"normalize": {"out"}}
# None stands for a deprecated guess of the dimension, and for 0.
OTHER_DEFAULTS = {("softmax", "dim"), ("softmin", "dim"), ("log_softmax", "dim"), ("pad", "value")}
OUR_OWN = {"soft_dice_loss", "generalized_dice_loss", "tversky_loss", "sigmoid_focal_loss"}


def test_everything_is_listed_and_there() -> None:
    assert all(callable(getattr(F, name)) for name in F.__all__)


@pytest.mark.parametrize("name", F.__all__)
def test_arguments_have_pytorchs_names_order_and_defaults(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = getattr(torch.nn.functional, name, None)
    if theirs is None:
        assert name in OUR_OWN
        return
    try:
        wanted = inspect.signature(theirs).parameters
    except ValueError:
        return  # a built-in without a signature
    if {"args", "kwargs"} <= set(wanted):
        return  # chosen by PyTorch's scripting compiler
    kept = [p for n, p in wanted.items() if n not in DEPRECATED | LEFT_OUT.get(name, set())]
    ours = inspect.signature(getattr(F, name)).parameters
    assert list(ours) == [p.name for p in kept]
    for p in kept:
        if p.default is not inspect.Parameter.empty and (name, p.name) not in OTHER_DEFAULTS:
            assert ours[p.name].default == p.default, p.name


@pytest.mark.parametrize(
    ("name", "options"),
    [("relu", {}), ("elu", {"alpha": 0.5}), ("celu", {"alpha": 0.5}), ("selu", {}), ("leaky_relu", {}),
     ("hardtanh", {"min_val": -0.5}), ("threshold", {"threshold": 0.3, "value": 2.0})],
)  # fmt: skip
def test_activations_in_place_give_what_the_others_give(name: str, options) -> None:
    x = minidl.tensor(np.linspace(-2, 2, 9), requires_grad=True)
    y = x * 1
    assert getattr(F, f"{name}_")(y, **options) is y
    assert y.tolist() == getattr(F, name)(x, **options).tolist()
    (given,) = minidl.autograd.grad((y * y).sum(), [x])
    (wanted,) = minidl.autograd.grad((getattr(F, name)(x, **options) ** 2).sum(), [x])
    assert given.tolist() == wanted.tolist()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("extra", [{}, {"add_bias_kv": True, "add_zero_attn": True}, {"kdim": 6, "vdim": 10}])
def test_attention_of_batch_first_tensors_is_that_of_turned_ones(extra, masked) -> None:
    widths = 8, extra.get("kdim", 8), extra.get("vdim", 8)
    given = [draw([(n, 3, width)], dtype=np.float32)[0] for n, width in zip((5, 7, 7), widths, strict=True)]
    minidl.manual_seed(0)
    plain = minidl.nn.MultiheadAttention(8, 2, **extra)
    turned = minidl.nn.MultiheadAttention(8, 2, batch_first=True, **extra)
    turned.load_state_dict(plain.state_dict())
    hidden = minidl.tensor(np.arange(21).reshape(3, 7) % 5 == 1) if masked else None
    found, weights = turned(*[x.transpose(0, 1) for x in given], key_padding_mask=hidden)
    expected, same = plain(*given, key_padding_mask=hidden)
    np.testing.assert_allclose(found.transpose(0, 1).detach().numpy(), expected.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(weights.detach().numpy(), same.detach().numpy(), atol=1e-6)
