"""autocast: which function computes in which type, as PyTorch has it; weights, nesting, gradients, training."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.core import launching
from minidl.errors import ArgumentError, DTypeError
from minidl.nn import functional as F
from minidl.ops import precision
from minidl.utils.checkpoint import checkpoint

BF16, F16, F32 = minidl.bfloat16, minidl.float16, minidl.float32


def casts_of(call) -> int:
    """How many casts `call` launches."""
    count = 0

    def note(launched) -> None:
        nonlocal count
        count += launched.op.name == "cast"
        launched.run()

    with launching(note):
        call()
    return count


# Names under which both libraries have a function, and shapes of arguments; "i" before a shape: whole numbers.
SAMPLES = [
    # in 16 bits
    ("matmul", [(3, 4), (4, 5)]), ("mm", [(3, 4), (4, 5)]), ("bmm", [(2, 3, 4), (2, 4, 5)]),
    ("addmm", [(3, 5), (3, 4), (4, 5)]), ("baddbmm", [(2, 3, 5), (2, 3, 4), (2, 4, 5)]),
    ("nn.functional.linear", [(3, 4), (5, 4), (5,)]), ("nn.functional.conv1d", [(2, 3, 8), (4, 3, 3)]),
    ("nn.functional.conv2d", [(2, 3, 8, 8), (4, 3, 3, 3), (4,)]),
    ("nn.functional.conv3d", [(1, 2, 4, 4, 4), (3, 2, 2, 2, 2)]),
    ("nn.functional.conv_transpose2d", [(2, 3, 5, 5), (3, 4, 3, 3)]), ("nn.functional.prelu", [(2, 3, 4), (3,)]),
    ("nn.functional.scaled_dot_product_attention", [(2, 3, 4), (2, 5, 4), (2, 5, 4)]),
    ("linalg.vecdot", [(3, 4), (3, 4)]),
    # in float32
    ("prod", [(3, 4)]), ("trace", [(3, 3)]), ("cdist", [(3, 4), (2, 4)]), ("nn.functional.mse_loss", [(3, 4), (3, 4)]),
    ("nn.functional.l1_loss", [(3, 4), (3, 4)]), ("nn.functional.smooth_l1_loss", [(3, 4), (3, 4)]),
    ("nn.functional.huber_loss", [(3, 4), (3, 4)]),
    ("nn.functional.binary_cross_entropy_with_logits", [(3, 4), (3, 4)]),
    ("nn.functional.soft_margin_loss", [(3, 4), (3, 4)]), ("nn.functional.poisson_nll_loss", [(3, 4), (3, 4)]),
    ("nn.functional.margin_ranking_loss", [(3,), (3,), (3,)]), ("nn.functional.avg_pool3d", [(1, 1, 4, 4, 4), 2]),
    ("nn.functional.triplet_margin_loss", [(3, 4), (3, 4), (3, 4)]), ("quantile", [(3, 4), 0.5]),
    ("linalg.inv", [(3, 3)]), ("linalg.solve", [(3, 3), (3, 2)]), ("linalg.svdvals", [(3, 4)]),
    # in the type that comes to them
    ("add", [(3, 4), (3, 4)]), ("mul", [(3, 4), (3, 4)]), ("exp", [(3, 4)]), ("sigmoid", [(3, 4)]), ("sum", [(3, 4)]),
    ("nn.functional.relu", [(3, 4)]), ("nn.functional.gelu", [(3, 4)]), ("softmax", [(3, 4), 1]),
    ("nn.functional.layer_norm", [(3, 4), [4]]), ("nn.functional.max_pool2d", [(1, 1, 4, 4), 2]),
    ("nn.functional.avg_pool2d", [(1, 1, 4, 4), 2]), ("nn.functional.batch_norm", [(3, 4), (4,), (4,)]),
    ("var", [(3, 4)]), ("linalg.vector_norm", [(3, 4)]), ("linalg.matrix_norm", [(3, 4)]),
    ("linalg.cross", [(2, 3), (2, 3)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shapes"), SAMPLES, ids=[name for name, _ in SAMPLES])
@pytest.mark.parametrize("given", ["float32", "bfloat16", "float64"])
def test_types_are_those_of_pytorch_on_the_cpu(name: str, shapes, given: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs, ours = torch, minidl
    for part in name.split("."):
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    rng = np.random.default_rng(0)
    numbers = [rng.uniform(0.1, 1, s).astype(np.float32) if isinstance(s, tuple) else s for s in shapes]
    if name in ("linalg.inv", "linalg.solve"):
        numbers[0] += 2 * np.eye(3, dtype=np.float32)

    def call(library, function, autocast):
        args = [library.from_numpy(n).to(getattr(library, given)) if isinstance(n, np.ndarray) else n for n in numbers]
        with autocast("cpu", dtype=library.bfloat16):
            return function(*args)

    try:
        wanted = call(torch, theirs, torch.autocast)
    except RuntimeError:  # PyTorch has no kernel for this type
        return
    found = call(minidl, ours, minidl.autocast)
    assert found.dtype.name == str(wanted.dtype).removeprefix("torch.")
    tolerance = 2e-2 if "bfloat16" in (given, found.dtype.name) else 1e-5  # two roundings of 8 bits
    scale = wanted.abs().max().item()
    np.testing.assert_allclose(found.float().array, wanted.float().numpy(), atol=tolerance * scale)


def test_the_tables_name_what_there_is_once_and_what_sweeps_is_there() -> None:
    names = {*minidl.ops.__all__, *(f"linalg.{name}" for name in minidl.linalg.__all__)}
    assert names >= precision.KNOWN
    for device in ("cpu", "cuda"):
        tables = [precision.LOWER[device], precision.FLOAT32[device], precision.WIDEST[device]]
        assert sum(map(len, tables)) == len(frozenset.union(*tables))


def test_joining_takes_the_widest_type() -> None:
    narrow, wide = minidl.ones(2, dtype=BF16), minidl.ones(2)
    with minidl.autocast("cpu"):
        assert minidl.cat([narrow, wide]).dtype == minidl.stack([wide, narrow]).dtype == F32
        assert minidl.cat([narrow, narrow]).dtype == BF16


@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
def test_the_result_is_that_of_rounded_operands(dtype) -> None:
    x, w = minidl.randn(5, 4), minidl.randn(3, 4)
    with minidl.autocast("cpu", dtype):
        y = F.linear(x, w)
    exact = x.to(dtype).double() @ w.to(dtype).double().T
    np.testing.assert_array_equal(y.array, exact.to(dtype).array)


def test_gradients_reach_float32_weights_through_the_cast() -> None:
    """Against the same by hand: both operands and the gradient rounded, the products in float32."""
    x, w = minidl.randn(6, 4), nn.Parameter(minidl.randn(3, 4))
    with minidl.autocast("cpu"):
        y = F.linear(x, w)
        assert y.dtype == BF16
    g = minidl.randn(6, 3).bfloat16()
    y.backward(g)
    assert w.grad.dtype == F32
    np.testing.assert_array_equal(w.grad.array, (g.float().T @ x.bfloat16().float()).bfloat16().float().array)


def test_a_weight_is_cast_once_in_a_block_and_again_after_a_change() -> None:
    w = nn.Parameter(minidl.randn(4, 4))
    x = minidl.randn(2, 4, dtype=BF16)

    def used(times: int):
        for _ in range(times):
            y = F.linear(x, w)
        return y

    with minidl.autocast("cpu"):
        once, twice = casts_of(lambda: used(1)), casts_of(lambda: used(2))
        # Each product casts its two operands to float32 and its result back; the first one, the weight besides.
        assert (once, twice) == (4, 6)
        with minidl.no_grad():
            assert casts_of(lambda: used(1)) == 4  # a cast that no gradient goes through is another one
            before = F.linear(x, w)
            w.mul_(2.0)
        np.testing.assert_array_equal(used(1).detach().float().array, 2 * before.float().array)
        minidl.clear_autocast_cache()
        assert casts_of(lambda: used(1)) == 4
    with minidl.autocast("cpu", cache_enabled=False):
        assert casts_of(lambda: used(2)) == 8


def test_blocks_nest_and_end() -> None:
    x, w = minidl.randn(2, 3), minidl.randn(3, 3)
    assert not minidl.is_autocast_enabled()
    with minidl.autocast("cpu"):
        assert minidl.is_autocast_enabled()
        assert minidl.is_autocast_enabled("cpu")
        assert not minidl.is_autocast_enabled("cuda")
        with minidl.autocast("cpu", enabled=False):
            assert (x @ w).dtype == F32
            assert not minidl.is_autocast_enabled()
            with minidl.autocast("cpu", F16):
                assert (x @ w).dtype == minidl.get_autocast_dtype("cpu") == F16
        assert (x @ w).dtype == minidl.get_autocast_dtype("cpu") == BF16
        with minidl.autocast("cuda"):  # another device; this one stays
            assert minidl.is_autocast_enabled("cuda")
            assert (x @ w).dtype == BF16
    with pytest.raises(ZeroDivisionError), minidl.autocast("cpu"):
        _ = 1 / 0
    assert (x @ w).dtype == F32
    with minidl.autocast("cuda"):
        assert (x @ w).dtype == F32  # on the CPU


def test_one_object_can_be_entered_again_and_decorate() -> None:
    block = minidl.autocast("cpu")
    x = minidl.randn(2, 2)
    with block, block:
        assert (x @ x).dtype == BF16
    assert (x @ x).dtype == F32

    @block
    def product(a, depth):
        return a @ a if not depth else product(a, depth - 1)

    assert product(x, 2).dtype == BF16
    assert not minidl.is_autocast_enabled()


def test_backward_inside_the_block_is_that_outside() -> None:
    """Steps go back in the types of their forward pass: products of gradients are not cast once more."""
    w, x = nn.Parameter(minidl.randn(4, 4)), minidl.randn(3, 4)
    with minidl.autocast("cpu"):
        loss = F.mse_loss(F.linear(x, w), minidl.zeros(3, 4))
        inside = minidl.autograd.grad(loss, w, retain_graph=True)[0]
    np.testing.assert_array_equal(inside.array, minidl.autograd.grad(loss, w)[0].array)


def test_checkpoint_runs_again_in_the_types_of_its_block() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), minidl.randn(5, 4)

    def gradients(run) -> list:
        net.zero_grad()
        with minidl.autocast("cpu"):
            net(x)  # casts of weights are kept from here
            loss = run(net, x).float().square().sum()
        loss.backward()
        return [p.grad.array for p in net.parameters()]

    plain = gradients(lambda net, x: net(x))
    for ours, wanted in zip(gradients(checkpoint), plain, strict=True):
        np.testing.assert_array_equal(ours, wanted)


LAYERS = {
    "LSTM": (3, 4), "GRU": (3, 4), "RNN": (3, 4), "MultiheadAttention": (3, 1), "TransformerEncoderLayer": (3, 1, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers_train_under_autocast_in_the_types_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer, theirs = (getattr(library, name)(*LAYERS[name]) for library in (nn, torch.nn))
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    repeat = 3 if name == "MultiheadAttention" else 1
    with torch.autocast("cpu"):
        wanted = theirs(*[torch.from_numpy(x)] * repeat)
    with minidl.autocast("cpu"):
        given = layer(*[minidl.from_numpy(x)] * repeat)
    given, wanted = (r[0] if isinstance(r, tuple) else r for r in (given, wanted))
    assert given.dtype.name == str(wanted.dtype).removeprefix("torch.")
    given.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == F32 for p in layer.parameters())


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="autocast: device_type must be 'cpu' or 'cuda', got 'tpu'"):
        minidl.autocast("tpu")
    with pytest.raises(DTypeError, match="autocast: dtype must be bfloat16 or float16, got float32; for float32"):
        minidl.autocast("cpu", minidl.float32)


def small_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip


def losses_of(enabled: bool, dtype=None, scaler=None) -> list[float]:
    """Bright squares against bright crosses on noise, 40 steps."""
    minidl.manual_seed(0)
    net, rng = small_cnn(), np.random.default_rng(0)
    optimizer, losses = minidl.optim.Adam(net.parameters(), lr=0.01), []
    for _ in range(40):
        kind = rng.integers(0, 2, 32)
        images = rng.normal(0, 0.3, (32, 1, 12, 12)).astype(np.float32)
        images[kind == 0, :, 3:9, 3:9] += 0.7
        images[kind == 1, :, 5:7, :] += 0.7
        images[kind == 1, :, :, 5:7] += 0.7
        with minidl.autocast("cpu", dtype, enabled=enabled):
            loss = F.cross_entropy(net(minidl.from_numpy(images)), minidl.from_numpy(kind))
        optimizer.zero_grad()
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        losses.append(loss.item())
    assert {p.dtype for p in net.parameters()} == {F32}
    return losses


@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
def test_a_small_network_trains_as_well_as_in_float32(dtype) -> None:
    """The last ten steps' mean: within a tenth of what the loss fell by. float16 with its scaler."""
    plain = losses_of(False)
    scaler = minidl.amp.GradScaler("cpu") if dtype == F16 else None
    mixed = losses_of(True, dtype, scaler)
    fell = plain[0] - np.mean(plain[-10:])
    assert fell > 0.4
    assert abs(np.mean(mixed[-10:]) - np.mean(plain[-10:])) < 0.1 * fell
    assert mixed != plain
