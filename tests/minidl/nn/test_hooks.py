from __future__ import annotations

import minidl
from minidl import nn


def test_hooks_see_and_may_change_arguments_and_result() -> None:
    layer = nn.Identity()
    layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
    layer.register_forward_hook(lambda module, args, output: output * 10)
    assert layer(minidl.tensor([1.0])).tolist() == [20.0]


def test_a_hook_that_returns_nothing_only_looks() -> None:
    seen = []
    layer = nn.ReLU()
    layer.register_forward_hook(lambda module, args, output: seen.append((module, args[0].item(), output.item())))
    assert layer(minidl.tensor([-1.0])).item() == 0
    assert seen == [(layer, -1.0, 0.0)]


def test_a_removed_hook_is_not_called() -> None:
    layer = nn.Identity()
    handle = layer.register_forward_hook(lambda module, args, output: output * 0)
    handle.remove()
    handle.remove()
    with layer.register_forward_hook(lambda module, args, output: output + 1):
        assert layer(minidl.tensor([1.0])).item() == 2
    assert layer(minidl.tensor([1.0])).item() == 1
