"""An LSTM with a projection, by way of the sweep that has none.

With h = W_hr m and m = o tanh(c), the state's share of the sums is W_hh h = (W_hh W_hr) m. So m is the state of a plain
LSTM whose recurrent weight is the product of both, and the outputs are projected after the sweep, all steps at once. A
state h0 that is not zero is no W_hr m in general: it enters as a further input that is zero but at a row's first step.

The sweep then multiplies by H numbers of state instead of P: 2·T·N·4H·H operations, where steps with a projection in
each take 2·T·N·5H·P. What one compiled sweep saves pays for that up to some 5 between H and P. Training step, T 64,
N 32, I 64, P 64, one core of a busy Zen 5, PyTorch / ours: H 128 1.8, H 256 1.3, H 512 0.7; P 32 and H 512 0.7.

Source: Sak, Senior and Beaufays, arXiv:1402.1128.
"""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import ShapeError
from minidl.ops.concat import cat, stack
from minidl.ops.matmul import linear
from minidl.ops.where import where


def check_projection(h0: Tensor, c0: Tensor, weight_hh: Tensor, weight_hr: Tensor) -> None:
    """Raise a ShapeError unless the shapes of the projection fit; the sweep checks the others."""
    name = "projected_lstm_sequence"
    if weight_hr.ndim != 3 or c0.ndim != 3 or weight_hr.shape[::2] != c0.shape[::2]:
        raise ShapeError(
            f"{name}: weight_hr must be (directions, proj_size, hidden_size) beside c0 (directions, batch, "
            f"hidden_size) {c0.shape}, got {weight_hr.shape}"
        )
    directions, size, hidden = weight_hr.shape
    for kind, given, wanted in (
        ("h0", h0, (directions, c0.shape[1], size)),
        ("weight_hh", weight_hh, (directions, 4 * hidden, size)),
    ):
        if given.shape != wanted:
            raise ShapeError(f"{name}: {kind} must be {wanted} beside weight_hr {weight_hr.shape}, got {given.shape}")


def with_first_state(
    input: Tensor, h0: Tensor, weight_ih: Tensor, weight_hh: Tensor, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Input and weight_ih with h0 (D, N, P) as D P further inputs, each direction's zero for the others."""
    xp, count, directions = input.device.xp, input.shape[0], h0.shape[0]
    last = xp.asarray(count - 1) if lengths is None else lengths.array - 1
    inputs, weights = [input], [weight_ih]
    for d in range(directions):
        is_first = xp.arange(count)[:, None] == (last if d else xp.asarray(0))
        inputs.append(where(Tensor.of(is_first[:, :, None]), h0[d], 0.0))
        weights.append(stack([weight_hh[d] if other == d else weight_hh[d] * 0 for other in range(directions)]))
    return cat(inputs, dim=-1), cat(weights, dim=-1)


def projected(m: Tensor, weight_hr: Tensor) -> Tensor:
    """(T, N, D H) to (T, N, D P)."""
    directions, _, hidden = weight_hr.shape
    parts = [linear(m[:, :, d * hidden : (d + 1) * hidden], weight_hr[d]) for d in range(directions)]
    return parts[0] if directions == 1 else cat(parts, dim=-1)
