"""Ops that run as one: which do, and that the results and gradients are PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.core import launching
from minidl.testing import LAYOUTS

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def ran(module, *inputs):
    """The result of a module, and the names of the ops that made images."""
    names = []

    def note(call):
        if getattr(call.out, "ndim", 0) == 4:
            names.append(call.op.name)
        call.run()

    with launching(note):
        return module(*inputs), names


def block(lib):
    """conv, batch-norm and ReLU; a second one whose batch-norm meets the shortcut before its ReLU."""

    class Block(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = lib.nn.Conv2d(3, 8, 3, padding=1, bias=False), lib.nn.BatchNorm2d(8)
            self.conv2, self.bn2 = lib.nn.Conv2d(8, 8, 3, padding=1), lib.nn.BatchNorm2d(8)
            self.shortcut = lib.nn.Sequential(lib.nn.Conv2d(3, 8, 1), lib.nn.BatchNorm2d(8))

        def forward(self, x):
            y = self.bn1(self.conv1(x)).relu()
            return (self.bn2(self.conv2(y)) + self.shortcut(x)).relu()

    return Block()


def both(training=True):
    """The block in either library, with the same weights and running statistics that are not 0 and 1."""
    theirs = block(torch)
    generator = torch.Generator().manual_seed(0)
    for name, value in theirs.state_dict().items():
        if value.ndim:
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if "running" in name else -0.4))
    ours = block(minidl)
    ours.load_state_dict({k: minidl.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    for module in (ours, theirs):
        module.train(training).double()
    return ours, theirs, np.random.default_rng(0).standard_normal((2, 3, 9, 7))


def test_batch_norm_takes_the_relu_and_the_shortcut_along() -> None:
    ours, _, x = both()
    _, names = ran(ours, minidl.tensor(x))
    assert "relu" not in names
    assert "add" not in names
    assert names.count("batch_normalize") == 2  # the first one with its ReLU, and the shortcut's
    assert names.count("batch_normalize_add_relu") == 1


@pytest.mark.parametrize("training", [True, False])
def test_results_and_gradients_are_pytorchs(training) -> None:
    ours, theirs, x = both(training)
    mine, other = minidl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours(mine), theirs(other)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), atol=1e-12)
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), atol=1e-10)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=1e-9, err_msg=name)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), buffer.numpy(), atol=1e-12, err_msg=name)


def test_a_result_that_is_used_twice_is_right_twice() -> None:
    class Twice(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.norm(x)
            return y.relu() * 10 + y

    x = np.random.default_rng(1).standard_normal((2, 3, 4, 4))
    t = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.batch_norm(t, None, None, training=True)
    (y.relu() * 10 + y).square().sum().backward()
    ours = minidl.tensor(x, requires_grad=True)
    Twice().double()(ours).square().sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), t.grad.numpy(), atol=1e-9)


def test_convolutions_take_along_what_follows_at_rest() -> None:
    ours, _, x = both(training=False)
    with minidl.no_grad():
        _, names = ran(ours, minidl.tensor(x))
    assert names == ["conv_then_relu", "conv_then", "conv_then_relu"]


def test_convolutions_take_along_a_relu_in_training() -> None:
    class Plain(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return (self.conv(x) + x).relu()

    _, names = ran(Plain(), minidl.randn(2, 3, 5, 5, requires_grad=True))
    assert names == ["conv_then_relu"]


def test_results_at_rest_are_pytorchs() -> None:
    ours, theirs, x = both(training=False)
    with minidl.no_grad(), torch.no_grad():
        np.testing.assert_allclose(ours(minidl.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), atol=1e-12)


def test_gradients_through_conv_residual_and_relu_are_pytorchs() -> None:
    x, weight, bias = (np.random.default_rng(2).standard_normal(s) for s in ((2, 4, 6, 5), (4, 4, 3, 3), (4,)))

    def result(lib, *arrays):
        tensors = [lib.tensor(a).requires_grad_() for a in arrays]
        y = lib.nn.functional.conv2d(*tensors, padding=1) + tensors[0]
        y = y.relu()
        (y * y).sum().backward()
        return [y.detach(), *(t.grad for t in tensors)]

    class Net(nn.Module):
        def forward(self):
            return result(minidl, x, weight, bias)

    for a, b in zip(Net()(), result(torch, x, weight, bias), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-11)


NORM_ACTIVATIONS = ["ReLU", "ReLU6", "LeakyReLU", "ELU", "SiLU", "GELU", "Hardswish"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NORM_ACTIVATIONS)
@pytest.mark.parametrize("order", [1, 2])
def test_norms_take_their_activation_along(name, training, order) -> None:
    """Scaled so that some values reach 6; gradients of a gradient go the way that is written in ops."""
    x = np.random.default_rng(3).standard_normal((3, 4, 5, 6)) * 2

    def result(lib):
        net = lib.nn.Sequential(lib.nn.BatchNorm2d(4), getattr(lib.nn, name)()).double().train(training)
        with lib.no_grad():
            net[0].weight.copy_(lib.tensor([5.0, -3.0, 1.0, 0.5]))
        t = lib.tensor(x).requires_grad_()
        y = net(t)
        loss, inputs = (y**2).sum(), [t, net[0].weight]
        if order == 2:
            (slope,) = lib.autograd.grad(loss, [t], create_graph=True)
            loss = (slope**2).sum()
        return [v.detach().numpy() for v in (y, *lib.autograd.grad(loss, inputs))]

    for a, b in zip(result(minidl), result(torch), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["GroupNorm", "InstanceNorm2d"])
@pytest.mark.parametrize("name", NORM_ACTIVATIONS)
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("compiled", [True, False])
def test_norms_of_groups_take_their_activation_along(norm, name, order, compiled) -> None:
    x = np.random.default_rng(3).standard_normal((3, 4, 5, 6)) * 2

    def result(lib, given):
        layer = lib.nn.GroupNorm(2, 4) if norm == "GroupNorm" else lib.nn.InstanceNorm2d(4, affine=True)
        net = lib.nn.Sequential(layer, getattr(lib.nn, name)()).double()
        with lib.no_grad():
            net[0].weight.copy_(lib.tensor([5.0, -3.0, 1.0, 0.5]))
            net[0].bias.copy_(lib.tensor([0.5, 1.0, -1.0, 0.0]))
        y, names = ran(net, given) if lib is minidl else (net(given), [])
        loss, inputs = (y**2).sum(), [given, net[0].weight, net[0].bias]
        if order == 2:
            (slope,) = lib.autograd.grad(loss, [given], create_graph=True)
            loss = (slope**2).sum()
        return [v.detach().numpy() for v in (y, *lib.autograd.grad(loss, inputs))], names

    lies = minidl.Tensor.of(LAYOUTS["channels last"](x)).requires_grad_()
    with minidl.use_numba(compiled):
        ours, names = result(minidl, lies)
    assert names == ["group_normalize"]
    for a, b in zip(ours, result(torch, torch.tensor(x).requires_grad_())[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NORM_ACTIVATIONS[1:])
def test_activations_that_are_taken_along_do_not_run_alone(name) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), getattr(nn, name)())
    _, names = ran(net, minidl.randn(2, 2, 6, 6))
    assert names == ["conv", "batch_normalize"]


@pytest.mark.parametrize("layout", [None, "channels last"])
@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize("name", NORM_ACTIVATIONS)
def test_a_norm_at_rest_can_be_trained_through(name, has_residual, layout) -> None:
    """Fine-tuning by frozen statistics; the gradient of a gradient too."""
    rng = np.random.default_rng(3)
    x, residual = rng.standard_normal((2, 2, 5, 6, 4))
    scale, shift, mean, var = rng.uniform(0.5, 2, (4, 6))[:, :5] - np.array([0, 1, 1, 0])[:, None]
    g = rng.standard_normal(x.shape)

    def gradients(lib, lay):
        class Net(lib.nn.Module):
            def forward(self, x, residual, scale, shift):
                y = lib.nn.functional.batch_norm(x, lib.tensor(mean), lib.tensor(var), scale, shift, eps=0.1)
                return getattr(lib.nn, name)()(y + residual if has_residual else y)

        given = [lib.tensor(a.copy()).requires_grad_() for a in (x, residual, scale, shift)]
        y = Net()(lay(given[0]), lay(given[1]), *given[2:])
        first = lib.autograd.grad((y * lib.tensor(g)).sum(), [given[0], *given[2:]], create_graph=True)
        plain = Net()(lay(given[0]), lay(given[1]), *given[2:])
        (plain * lib.tensor(g)).sum().backward(retain_graph=True)
        sum(f.square().sum() for f in first).backward()
        return [t.detach().numpy() for t in (y, *first)] + [t.grad.numpy() for t in given if t.grad is not None]

    def laid_out(t):
        return t if layout is None else t + minidl.Tensor.of(LAYOUTS[layout](np.zeros_like(t.array)))

    found = gradients(minidl, laid_out)
    for ours, theirs in zip(found, gradients(torch, lambda t: t), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NORM_ACTIVATIONS[1:])
@pytest.mark.parametrize("parts", ["conv", "conv and norm", "conv and shortcut"])
@pytest.mark.parametrize("compiled", [True, False])
def test_convolutions_at_rest_take_any_of_these_activations_along(name, parts, compiled) -> None:
    """float64: only the order of sums differs."""
    x = np.random.default_rng(0).standard_normal((2, 8, 7, 6)) * 3

    def build(lib):
        class Net(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = lib.nn.Conv2d(8, 8, 3, padding=1), lib.nn.BatchNorm2d(8)
                self.act = getattr(lib.nn, name)()

            def forward(self, x):
                y = self.norm(self.conv(x)) if parts == "conv and norm" else self.conv(x)
                return self.act(y + x if parts == "conv and shortcut" else y)

        return Net().double().eval()

    theirs, ours = build(torch), build(minidl)
    ours.load_state_dict({k: minidl.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    with minidl.no_grad(), torch.no_grad(), minidl.use_numba(compiled):
        for _ in range(3):  # what is made of weights is kept from the second call on
            found, names = ran(ours, minidl.tensor(x))
        wanted = theirs(torch.tensor(x))
    assert names == ["conv_then_activated"]
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["ReLU", "SiLU"])
@pytest.mark.parametrize(("features", "first"), [(3, "linear_then"), (64, "linear")])
def test_a_linear_map_at_rest_takes_the_norm_and_its_activation_along(name, features, first) -> None:
    """But not one of few rows, for which looking after its weights would take too long."""
    x = np.random.default_rng(0).standard_normal((5, features))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(features, 4), torch.nn.BatchNorm1d(4), getattr(torch.nn, name)()
    ).double()
    theirs(torch.tensor(x * 2 + 1))  # running statistics that are not 0 and 1
    ours = nn.Sequential(nn.Linear(features, 4), nn.BatchNorm1d(4), getattr(nn, name)()).double()
    ours.load_state_dict({k: minidl.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()})
    names = []

    def note(call):
        names.append(call.op.name)
        call.run()

    with minidl.no_grad(), torch.no_grad(), launching(note):
        found, wanted = ours.eval()(minidl.tensor(x)), theirs.eval()(torch.tensor(x))
    assert names[0] == first
    assert len(names) == (1 if first == "linear_then" else 2)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-12, atol=1e-12)


def test_a_linear_map_of_sequences_leaves_the_norm_of_their_places_alone() -> None:
    """Of (N, L, C) batch-norm takes L for the channels, as PyTorch does."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double().eval()
    net[1].running_mean.copy_(minidl.tensor([1.0, 2.0, 3.0, 4.0]).double())
    x = minidl.randn(2, 4, 3).double()
    with minidl.no_grad():
        np.testing.assert_allclose(net(x).numpy(), net[1].forward(net[0].forward(x)).numpy(), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_transposed_convolutions_take_what_follows_along(training, bias) -> None:
    x = np.random.default_rng(4).standard_normal((2, 3, 4, 5))

    def net(lib, weights=None):
        layers = [lib.nn.ConvTranspose2d(3, 4, 2, 2, bias=bias), lib.nn.BatchNorm2d(4), lib.nn.ReLU()]
        layers += [lib.nn.ConvTranspose2d(4, 2, 3, 2, 1, 1, bias=bias), lib.nn.ReLU()]
        made = lib.nn.Sequential(*layers).double().train(training)
        if weights is not None:
            made.load_state_dict({k: minidl.tensor(v.numpy().copy()) for k, v in weights.items()})
        return made

    theirs = net(torch)
    ours = net(minidl, theirs.state_dict())
    mine, other = minidl.tensor(x).requires_grad_(), torch.tensor(x).requires_grad_()
    (ours(mine) ** 2).sum().backward()
    (theirs(other) ** 2).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), atol=1e-10)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=1e-10)
    with minidl.no_grad(), torch.no_grad():
        result, names = ran(ours, minidl.tensor(x))
        np.testing.assert_allclose(result.numpy(), theirs(torch.tensor(x)).numpy(), atol=1e-12)
    norms = ["batch_normalize"] if training else []
    first = ["conv_transpose"] if training else ["conv_transpose_relu"]
    assert [name for name in names if name != "mul"] == [*first, *norms, "conv_transpose_relu"]


ACTIVATIONS = {
    "relu": nn.ReLU, "gelu": nn.GELU, "gelu_tanh": lambda: nn.GELU("tanh"), "silu": nn.SiLU, "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("compiled", [True, False])
def test_a_linear_map_takes_its_activation_along(name, compiled) -> None:
    layers = nn.Sequential(nn.Linear(5, 7), ACTIVATIONS[name](), nn.Linear(7, 2)).double()
    names = []

    def note(call):
        names.append(call.op.name)
        call.run()

    x, plain = (minidl.tensor(np.random.default_rng(0).standard_normal((3, 4, 5)), requires_grad=True) for _ in "ab")
    minidl.use_numba(compiled)
    try:
        with launching(note):
            found = layers(x)
        found.square().sum().backward()
    finally:
        minidl.use_numba(True)
    ours = [p.grad.numpy() for p in layers.parameters()]
    layers.zero_grad()
    expected = layers[2].forward(layers[1].forward(layers[0].forward(plain)))  # not inside a module: one by one
    expected.square().sum().backward()
    assert names == ["linear_then" if name in ("relu", "sigmoid", "tanh") else "linear_then_kept", "linear"]
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-13)
    for a, b in zip([x.grad.numpy(), *ours], [plain.grad.numpy(), *[p.grad.numpy() for p in layers.parameters()]],
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    with minidl.no_grad():
        np.testing.assert_allclose(layers(x).numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_linear_map_takes_a_residual_along(bias, compiled) -> None:
    class Block(nn.Module):
        def __init__(self):
            self.map = nn.Linear(5, 5, bias=bias).double()

        def forward(self, x):
            return self.map(x) + x.mean(0)  # broadcast: by itself

    class Residual(Block):
        def forward(self, x):
            return x + self.map(x)

    names, found = [], []

    def note(call):
        names.append(call.op.name)
        call.run()

    minidl.use_numba(compiled)
    try:
        Block()(minidl.ones(3, 4, 5, dtype=minidl.float64))
        block = Residual()
        for call in (block, block.forward):  # the second is not inside a module: one by one
            x = minidl.tensor(np.random.default_rng(0).standard_normal((3, 4, 5)), requires_grad=True)
            block.zero_grad()
            with launching(note):
                y = call(x)
            (g,) = minidl.autograd.grad(y.square().sum(), [x], create_graph=True)
            (g.square().sum() + y.sum()).backward()
            found.append([y.detach().numpy(), x.grad.numpy(), *[p.grad.numpy() for p in block.parameters()]])
    finally:
        minidl.use_numba(True)
    assert names[0] == "linear_add"
    assert "linear_add" not in names[1:]
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("rows", [3, 64, 500])
def test_two_linear_maps_at_rest_and_a_residual_run_as_one(name, rows) -> None:
    """Of many rows, where the bits are those of the layers one by one; smaller products of those are NumPy's."""

    class Block(nn.Module):
        def __init__(self):
            self.dense = nn.Sequential(nn.Linear(40, 100), ACTIVATIONS[name](), nn.Linear(100, 40, bias=False))

        def forward(self, x):
            return x + self.dense(x)

    block, names = Block(), []
    x = minidl.tensor(np.random.default_rng(0).standard_normal((rows, 40)).astype(np.float32))

    def note(call):
        names.append(call.op.name)
        call.run()

    with minidl.no_grad():
        with launching(note):
            found = block(x)
        expected = x + block.dense[2].forward(block.dense[1].forward(block.dense[0].forward(x)))
        tolerance = 0.0 if rows == 500 else 1e-6
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=10 * tolerance, atol=tolerance)
        block.dense[0].weight.array[...] *= 2  # past all ops: the packed weights are not kept
        changed = x + block.dense[2].forward(block.dense[1].forward(block.dense[0].forward(x)))
        for _ in range(3):
            np.testing.assert_allclose(block(x).numpy(), changed.numpy(), rtol=1e-5, atol=1e-6)
    assert names == (["feed_forward"] if rows > 4 else ["linear_then", "linear_add"])


@pytest.mark.parametrize("at_rest", [True, False])
def test_a_linear_map_of_pixels_takes_the_shortcut_of_their_image_along(at_rest) -> None:
    """As in ConvNeXt; an image that lies channels-first is added by itself."""

    class Block(nn.Module):
        def __init__(self):
            self.dense = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 5)).double()

        def forward(self, x):
            return x + self.dense(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    block = Block()
    image = np.random.default_rng(0).standard_normal((2, 5, 6, 7))
    for layout in ("channels last", "contiguous"):
        names, found = [], []
        for call in (block, block.forward):  # the second is not inside a module: one by one
            x = minidl.Tensor.of(LAYOUTS["channels last"](image) if layout == "channels last" else image.copy())
            x.requires_grad_(not at_rest)
            names.append([])

            def note(call, names=names):
                names[-1].append(call.op.name)
                call.run()

            with launching(note), minidl.set_grad_enabled(not at_rest):
                y = call(x)
            block.zero_grad()
            if not at_rest:
                y.square().sum().backward()
            grads = [] if at_rest else [x.grad.numpy(), *[p.grad.numpy() for p in block.parameters()]]
            found.append([y.detach().numpy(), *grads])
        for ours, expected in zip(*found, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12)
        assert ("add" in names[0]) is (layout == "contiguous")
        assert "add" in names[1]


def test_what_is_between_two_linear_maps_can_be_looked_at() -> None:
    class Net(nn.Module):
        def __init__(self):
            self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x):
            hidden = minidl.relu(self.one(x))
            return self.two(hidden), hidden * 2

    net, x = Net(), minidl.ones(40, 6)
    with minidl.no_grad():
        found, doubled = net(x)
    hidden = np.maximum(x.numpy() @ net.one.weight.detach().numpy().T + net.one.bias.detach().numpy(), 0)
    np.testing.assert_allclose(doubled.numpy(), 2 * hidden, rtol=1e-5)
    expected = hidden @ net.two.weight.detach().numpy().T + net.two.bias.detach().numpy()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_linear_map_with_gelu_has_second_derivatives() -> None:
    layers, found = nn.Sequential(nn.Linear(3, 4), nn.GELU()).double(), []
    for call in (layers, lambda x: layers[1].forward(layers[0].forward(x))):
        x = minidl.tensor(np.random.default_rng(0).standard_normal((2, 3)), requires_grad=True)
        (g,) = minidl.autograd.grad(call(x).square().sum(), [x], create_graph=True)
        g.square().sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_allclose(*found, rtol=1e-10)
