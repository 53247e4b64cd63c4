"""Diagonal state space layers, blocks and stacks: `forward(x, state) -> (y, state)`, the state never hidden.

    D  width           x, y    (B, T, D)
    N  state size      h       (B, T, N) complex, h_t = a * h_{t-1} + sqrt(1 - |a|^2) * (B x)_t
                       y_t     = Re(C h_t) + d * x_t
    L  layers          state   (B, L, 2N) float: real and imaginary parts of h, interleaved

Parametrisation: LRU (Orvieto et al., "Resurrecting recurrent neural networks for long sequences", 2023), |a| < 1
always. One step equals one position of the full pass.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm import gates
from vssm.recurrence import linear_recurrence


class MLP(nn.Sequential):
    """Norm, hidden layer, output layer; the last one starts small when `gain` is below 1."""

    def __init__(self, in_size: int, hidden: int, out_size: int, gain: float = 1.0) -> None:
        last = nn.Linear(hidden, out_size)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.weight.mul_(gain)
        super().__init__(nn.LayerNorm(in_size), nn.Linear(in_size, hidden), Activation(), last)


class Activation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return gates.activate(x)


class SSM(nn.Module):
    """One linear time-invariant diagonal SSM, D channels in and out, N complex states."""

    def __init__(self, width: int, state: int, min_radius: float = 0.3, max_radius: float = 0.99) -> None:
        super().__init__()
        radius = torch.empty(state).uniform_(min_radius**2, max_radius**2).sqrt()
        self.log_decay = nn.Parameter(torch.log(-torch.log(radius)))  # |a| = exp(-exp(log_decay))
        self.angle = nn.Parameter(torch.empty(state).uniform_(0.0, math.pi / 4))
        self.input = nn.Linear(width, 2 * state, bias=False)
        self.output = nn.Linear(2 * state, width)
        self.skip = nn.Parameter(0.1 * torch.randn(width))

    def gates(self) -> tuple[Tensor, Tensor]:
        """a (N,) complex and the input scale sqrt(1 - |a|^2) (2N,).

        By way of float64: a library's float32 exp may round differently with a tensor's place in memory.
        """
        radius = torch.exp(-torch.exp(self.log_decay.double()))
        scale = torch.sqrt(1.0 - radius * radius).repeat_interleave(2)
        a = torch.polar(radius, self.angle.double())
        single = self.angle.dtype == torch.float32
        return (a.to(torch.complex64), scale.float()) if single else (a, scale)

    def forward(self, x: Tensor, state: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, T, D), state (B, 2N) -> y (B, T, D) and the state after step `last` (B,) of each row, or the final."""
        a, scale = self.gates()
        u = F.linear(x, self.input.weight * scale[:, None])  # (B, T, 2N)
        h, h_last = linear_recurrence(a, _complex(u), _complex(state))  # (B, T, N), (B, N)
        y = self.output(torch.view_as_real(h).flatten(-2)) + self.skip * x
        if last is not None:
            h_last = h[torch.arange(h.shape[0], device=h.device), last]
        return y, torch.view_as_real(h_last).flatten(-2)


def _complex(x: Tensor) -> Tensor:
    """(..., 2N) real, interleaved -> (..., N) complex."""
    return torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))


class Block(nn.Module):
    """x + GLU(activation(SSM(norm(x)))); with `linear` it is x + SSM(x), for models with exact mathematics."""

    def __init__(self, width: int, state: int, linear: bool = False) -> None:
        super().__init__()
        self.ssm = SSM(width, state)
        self.linear = linear
        if not linear:
            self.norm = nn.LayerNorm(width)
            self.mix = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, state: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.linear:
            y, state = self.ssm(x, state, last)
            return x + y, state
        y, state = self.ssm(self.norm(x), state, last)
        return x + gates.glu(self.mix(gates.activate(y))), state


class Stack(nn.Module):
    """`layers` blocks one after another; state (B, layers, 2N)."""

    def __init__(self, width: int, state: int, layers: int, linear: bool = False) -> None:
        super().__init__()
        self.state_shape = (layers, 2 * state)
        self.blocks = cast("list[Block]", nn.ModuleList(Block(width, state, linear) for _ in range(layers)))

    def start(self, batch: int, like: Tensor) -> Tensor:
        """The state before the first step: zeros (batch, layers, 2N)."""
        return like.new_zeros(batch, *self.state_shape)

    def forward(self, x: Tensor, state: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        states = []
        for k, block in enumerate(self.blocks):
            x, s = block(x, state[:, k], last)
            states.append(s)
        return x, torch.stack(states, dim=1) if states else state


class Bidirectional(nn.Module):
    """A forward and a backward stack over the whole sequence, added: for encoders that see x_{1..T}."""

    def __init__(self, width: int, state: int, layers: int) -> None:
        super().__init__()
        self.ahead = Stack(width, state, layers)
        self.back = Stack(width, state, layers)

    def forward(self, x: Tensor) -> Tensor:
        ahead, _ = self.ahead(x, self.ahead.start(x.shape[0], x))
        back, _ = self.back(x.flip(1), self.back.start(x.shape[0], x))
        return F.layer_norm(ahead + back.flip(1), ahead.shape[-1:])
