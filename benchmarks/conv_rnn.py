"""`python -m benchmarks.conv_rnn`: training steps of ConvLSTM and ConvGRU beside loops over PyTorch's convolutions.

PyTorch has neither, and whoever needs one writes a loop. Three are timed, with the same weights, and the fastest
counts: "cat", one convolution of [x, h] at each step (ConvLSTM only), and "loop", the input's convolution for all steps
first, in both layouts. Results and gradients are compared before. Ratios are PyTorch / ours; above 1, ours is faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minidl
from benchmarks.harness import Row, compare
from minidl import nn

# Steps, images, channels, channels of the state, side of an image.
SHAPES = [(10, 4, 1, 32, 64), (10, 4, 16, 64, 32), (8, 2, 32, 16, 64), (10, 8, 1, 16, 64)]


def loop(torch: Any, kind: str, weights: dict[str, Any], *, last: bool, joined: bool) -> Callable[[Any], Any]:
    """A layer over (T, N, C, H, W) in PyTorch, from the weights of ours."""
    conv = torch.nn.functional.conv2d
    to_x, to_h, of_x, of_h = (weights[name + "_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    both = torch.cat([to_x, to_h], 1)

    def lstm(x: Any, h: Any, c: Any, sums: Any) -> tuple[Any, Any]:
        sums = (
            conv(torch.cat([x, h], 1), both, of_x + of_h, padding=1)
            if joined
            else sums + conv(h, to_h, of_h, padding=1)
        )
        i, f, g, o = sums.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def gru(x: Any, h: Any, c: Any, sums: Any) -> tuple[Any, Any]:
        (x_r, x_z, x_n), (h_r, h_z, h_n) = sums.chunk(3, 1), conv(h, to_h, of_h, padding=1).chunk(3, 1)
        z, n = torch.sigmoid(x_z + h_z), torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
        return (1 - z) * n + z * h, c

    step = lstm if kind == "ConvLSTM2d" else gru

    def run(x: Any) -> Any:
        flat = x.flatten(0, 1)
        flat = flat.contiguous(memory_format=torch.channels_last) if last else flat
        sums = [None] * len(x) if joined else conv(flat, to_x, of_x, padding=1).unflatten(0, x.shape[:2]).unbind(0)
        h = torch.zeros(x.shape[1], to_h.shape[1], *x.shape[3:])
        h = c = h.contiguous(memory_format=torch.channels_last) if last else h
        output = []
        for t in range(len(x)):
            h, c = step(x[t], h, c, sums[t])
            output.append(h)
        return torch.stack(output)

    return run


def rows(torch: Any, shapes: list[tuple[int, ...]], threads: int, rounds: int) -> Iterator[Row]:
    minidl.set_num_threads(threads)
    torch.set_num_threads(threads)
    for kind in ("ConvLSTM2d", "ConvGRU2d"):
        for shape in shapes:
            yield _row(torch, kind, shape, threads, rounds)


def _row(torch: Any, kind: str, shape: tuple[int, ...], threads: int, rounds: int) -> Row:
    steps, batch, channels, hidden, side = shape
    minidl.manual_seed(0)
    net = getattr(nn, kind)(channels, hidden)
    weights = {k: torch.tensor(p.detach().numpy()).requires_grad_() for k, p in net.named_parameters()}
    images = np.random.default_rng(0).standard_normal((steps, batch, channels, side, side)).astype(np.float32)
    x, y = minidl.tensor(images), torch.tensor(images)

    def ours() -> Any:
        net.zero_grad()
        output, _ = net(x)
        (output * output).mean().backward()
        return output

    def rival(run: Callable[[Any], Any]) -> Callable[[], Any]:
        def train() -> Any:
            for weight in weights.values():
                weight.grad = None
            output = run(y)
            (output * output).mean().backward()
            return output

        return train

    forms = {"loop": (False, False), "loop channels-last": (True, False), "cat": (False, True)}
    rivals = {
        name: rival(loop(torch, kind, weights, last=last, joined=joined))
        for name, (last, joined) in forms.items()
        if kind == "ConvLSTM2d" or not joined
    }
    for step in rivals.values():  # float32 sums in another order, ten steps deep
        np.testing.assert_allclose(ours().detach(), step().detach().numpy(), atol=1e-4)
        for name, parameter in net.named_parameters():
            theirs = weights[name].grad.numpy()
            np.testing.assert_allclose(parameter.grad, theirs, atol=1e-3 * np.abs(theirs).max())
    title = f"T {steps}, N {batch}, {channels}→{hidden}, {side}x{side}, 3x3"
    return compare(
        ours, rivals, name=kind, title=title, what="training", threads=threads, rounds=rounds, seconds=60
    )  # fmt: skip


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.conv_rnn", description="Read ratios PyTorch / ours.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for row in rows(torch, SHAPES, options.threads, options.rounds):
        ratio = f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
        print(
            f"{row.name:11} {row.title:38} ours {row.ours_ms:7.1f} ms, {row.rival:18} {row.rival_ms:7.1f} ms: {ratio}"
        )


if __name__ == "__main__":
    main()
