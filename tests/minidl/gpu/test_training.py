"""All that a training run does around the ops, on the GPU: seeds, data, optimisers, clipping, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import io, nn, optim
from minidl.errors import DeviceError
from minidl.utils.data import DataLoader, TensorDataset

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((12, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 12)
OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.05),
    "SGD with momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.GroupNorm(2, 8), nn.SiLU(), nn.Upsample(scale_factor=2),
        nn.ConvTranspose2d(8, 4, 2, stride=2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(16), nn.GELU(),
        nn.Linear(16, 3),
    )  # fmt: skip


def train(net: nn.Module, optimizer: Any, device: str, epochs: int = 2) -> list[float]:
    loader = DataLoader(TensorDataset(minidl.tensor(IMAGES), minidl.tensor(LABELS)), batch_size=6, shuffle=True)
    criterion, seen = nn.CrossEntropyLoss(label_smoothing=0.1), []
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(images.to(device)), labels.to(device))
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            seen.append(loss.item())
    return seen


def start(device: str, optimiser: str) -> tuple[nn.Module, Any]:
    minidl.manual_seed(3)
    net = network().to(device)
    return net, OPTIMISERS[optimiser](net.parameters())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_training_follows_the_cpus_losses(cuda: str, optimiser: str) -> None:
    """The same seed gives the same weights, the same batches and the same dropped elements; roundings grow to 1e-4."""
    with minidl.use_numba(False):
        given = train(*start(cuda, optimiser), cuda)
        wanted = train(*start("cpu", optimiser), "cpu")
    assert given == pytest.approx(wanted, rel=1e-4)
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_run_goes_on_from_its_checkpoint(cuda: str, optimiser: str, tmp_path: Path) -> None:
    """On the GPU again, and on the CPU too."""
    path = tmp_path / "run.safetensors"
    net, optimizer = start(cuda, optimiser)
    train(net, optimizer, cuda)
    io.save_checkpoint(path, model=net, optimizer=optimizer)
    wanted = train(net, optimizer, cuda)
    for device in (cuda, "cpu"):
        net, optimizer = start(device, optimiser)
        io.read_checkpoint(path).restore(model=net, optimizer=optimizer)
        assert all(t.device.type == device for t in net.state_dict().values())
        with minidl.use_numba(False):
            assert train(net, optimizer, device) == pytest.approx(wanted, rel=1e-6 if device == cuda else 1e-4)


def test_weights_are_saved_and_loaded(cuda: str, tmp_path: Path) -> None:
    net = network().to(cuda)
    path = io.save(net.state_dict(), tmp_path / "net.safetensors")
    other = network().to(cuda)
    other.load_state_dict(io.load(path))
    for name, t in other.state_dict().items():
        assert t.device.type == "cuda"
        np.testing.assert_array_equal(t.cpu().numpy(), net.state_dict()[name].cpu().numpy())


def draws(device: str) -> list[minidl.Tensor]:
    minidl.manual_seed(5)
    return [
        minidl.rand(3, 2, device=device), minidl.randn(7, device=device), minidl.randint(9, size=(4,), device=device),
        minidl.randperm(6, device=device), nn.functional.dropout(minidl.ones(5, 4, device=device)),
        nn.init.orthogonal_(minidl.zeros(4, 3, device=device)),
        minidl.zeros(2, device=device), minidl.ones(2, device=device), minidl.full((2,), 3, device=device),
        minidl.arange(4, device=device), minidl.linspace(0, 1, 3, device=device), minidl.eye(3, device=device),
        minidl.zeros_like(minidl.ones(2, device=device)), minidl.full_like(minidl.ones(2, device=device), 4.0),
    ]  # fmt: skip


def test_a_seed_gives_the_same_bits_on_every_device(cuda: str) -> None:
    for ours, theirs in zip(draws(cuda), draws("cpu"), strict=True):
        assert (ours.device.type, theirs.device.type) == ("cuda", "cpu")
        np.testing.assert_array_equal(ours.cpu().numpy(), theirs.numpy())


def test_single_numbers_masks_and_assignments(cuda: str) -> None:
    x = minidl.tensor([[1.0, -2.0], [3.0, -4.0]], device=cuda)
    x[0, 1] = 5.0
    x[1] = minidl.tensor([6.0, 7.0], device=cuda)
    assert x[x > 5].tolist() == [6.0, 7.0]
    assert (x.sum().item(), float(x[0, 0]), bool((x > 0).all()), int(x.argmax())) == (19.0, 1.0, True, 3)
    assert repr(x[0]) == "tensor([1., 5.], device='cuda:0')"
    assert [minidl.one_hot(minidl.tensor([0, 2], device=cuda)).tolist(), len(x)] == [[[1, 0, 0], [0, 0, 1]], 2]
    assert minidl.equal(x, x.clone())
    np.testing.assert_array_equal(np.asarray(x), x.cpu().numpy())


def test_tensors_on_two_devices_are_refused(cuda: str) -> None:
    with pytest.raises(DeviceError, match=r"add: inputs are on cuda:0 and cpu; move them"):
        minidl.ones(2, device=cuda) + minidl.ones(2)
    with pytest.raises(DeviceError, match="one process uses one GPU"):
        minidl.ones(2, device="cuda:1")
