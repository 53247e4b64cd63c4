"""The Mamba rival: residual blocks of a short convolution and a selective scan (S6), with RMSNorm.

    W  width    E = expand x W  inner channels    N  states a channel    K  conv    R  rank of the step sizes

    dt_t = softplus(W_dt x_t + b)                  (B, T, E)
    h_t  = exp(dt_t A) * h_{t-1} + dt_t x_t B_t    (B, T, N, E)    A = -exp(A_log)
    y_t  = C_t h_t + D x_t                         (B, T, E)

    cached   layers times (B, K - 1, E) inputs of the convolution, then layers times (B, N, E) states

Source: Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces", 2023; names and shapes of the
weights are those of Hugging Face transformers' `MambaModel`, so that its weights load. In memory the channels come last
(E, not N), so that everything of a step is one run over channels.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vssm.baselines.config import MambaConfig
from vssm.baselines.rival import Rival
from vssm.baselines.selective_scan import selective_scan
from vssm.recurrence import linear_recurrence

_STEPS_AT_ONCE = 1024  # of a prefix: bounds the memory of its activations
_SCAN_VALUES = 1 << 19  # of h at a time outside training: they stay in the processor's cache


class Mixer(nn.Module):
    """Projection in, convolution, selective scan, gate, projection out."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        inner, states, rank = config.inner, config.state, config.rank
        self.sizes = (rank, states, states)
        self.in_proj = nn.Linear(config.width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, config.conv, groups=inner, padding=config.conv - 1)
        self.x_proj = nn.Linear(inner, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1.0)).repeat(inner, 1))  # (E, N)
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, config.width, bias=False)
        self._initialise(config)

    @torch.no_grad()
    def _initialise(self, config: MambaConfig) -> None:
        """Step sizes from 0.001 to 0.1, evenly in their logarithm, as in the paper; the way out starts small."""
        nn.init.uniform_(self.dt_proj.weight, -(config.rank**-0.5), config.rank**-0.5)
        dt = torch.exp(torch.empty(config.inner).uniform_(math.log(1e-3), math.log(1e-1)))
        self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus of it is dt
        nn.init.zeros_(self.conv1d.bias) if self.conv1d.bias is not None else None
        self.out_proj.weight.mul_(1.0 / math.sqrt(config.layers))
        self.A_log.no_weight_decay = self.D.no_weight_decay = True  # type: ignore[attr-defined]

    def decay(self) -> Tensor:
        """A transposed, (N, E), below 0."""
        return -torch.exp(self.A_log).t().contiguous()

    def select(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (..., E) -> dt (..., E), B and C (..., N)."""
        low, B, C = self.x_proj(x).split(self.sizes, dim=-1)
        return F.softplus(self.dt_proj(low)), B, C

    def convolve(self, x: Tensor, before: Tensor) -> Tensor:
        """x (B, T, E) and the K - 1 inputs before it -> (B, T, E)."""
        conv = self.conv1d
        padded = torch.cat([before, x], dim=1).transpose(1, 2)
        return F.silu(F.conv1d(padded, conv.weight, conv.bias, groups=x.shape[-1])).transpose(1, 2)

    def forward(self, u: Tensor, before: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u (B, T, W) after inputs (B, K - 1, E) and state (B, N, E) -> out (B, T, W), inputs, state."""
        x, gate = self.in_proj(u).chunk(2, dim=-1)
        after = torch.cat([before, x], dim=1)[:, x.shape[1] :]
        x = self.convolve(x, before)
        dt, B, C = self.select(x)
        if dt.device.type == "cpu" and dt.dtype == torch.float32:
            y, h = selective_scan(dt, self.decay(), B, C, x, h)
        elif dt.device.type == "cuda" and dt.dtype == torch.float32:
            from vssm.cuda import selective_scan as kernels  # needs Triton, which the CPU does not

            y, h = kernels.selective_scan(dt, self.decay(), B, C, x, h)
        elif torch.is_grad_enabled():  # every h is needed by the gradient: made again there, not kept
            y, h = checkpoint(scan, dt, self.decay(), B, C, x, h, use_reentrant=False, preserve_rng_state=False)
        else:
            y, h = scan_in_parts(dt, self.decay(), B, C, x, h)
        return self.out_proj((y + self.D * x) * F.silu(gate)), after, h

    def step(self, u: Tensor, before: Tensor, h: Tensor, decay: Tensor) -> Tensor:
        """u (B, W) -> out (B, W); inputs (B, K - 1, E) and state (B, N, E) are moved on in place."""
        x, gate = self.in_proj(u).chunk(2, dim=-1)
        window = torch.cat([before, x[:, None]], dim=1)  # (B, K, E)
        before.copy_(window[:, 1:])
        assert self.conv1d.bias is not None
        x = F.silu((window * self.conv1d.weight[:, 0].t()).sum(1) + self.conv1d.bias)
        dt, B, C = self.select(x)
        h.copy_(torch.exp(dt[:, None] * decay) * h + (dt * x)[:, None] * B[:, :, None])
        y = (h * C[:, :, None]).sum(1) + self.D * x
        return cast(Tensor, self.out_proj(y * F.silu(gate)))


class Block(nn.Module):
    """x + mixer(norm(x))."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.width, eps=1e-5)
        self.mixer = Mixer(config)


class Mamba(Rival):
    """A Mamba."""

    config: MambaConfig
    grows: ClassVar[bool] = False

    def __init__(self, config: MambaConfig) -> None:
        super().__init__(config)
        self.layers = cast("list[Block]", nn.ModuleList(Block(config) for _ in range(config.layers)))

    def stack(self, e: Tensor) -> Tensor:
        return self._pass(e, self.empty(e.shape[0], 0))[0]

    def empty(self, num_samples: int, capacity: int) -> tuple[Tensor, ...]:
        config = self.config
        depths = [depth for depth in (config.conv - 1, config.state) for _ in range(config.layers)]
        return tuple(self.start.new_zeros(num_samples, depth, config.inner) for depth in depths)

    def prefill(self, e: Tensor, position: int, cached: tuple[Tensor, ...]) -> Tensor:
        for part in torch.split(e, _STEPS_AT_ONCE, dim=1):
            features, after = self._pass(part, cached)
            for old, new in zip(cached, after, strict=True):
                old.copy_(new)
        return features[:, -1]

    def _pass(self, e: Tensor, cached: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        n = len(self.layers)
        inputs, states = list(cached[:n]), list(cached[n:])
        for k, block in enumerate(self.layers):
            out, inputs[k], states[k] = block.mixer(block.norm(e), inputs[k], states[k])
            e = e + out
        return e, (*inputs, *states)

    def prepare(self) -> tuple[Tensor, ...]:
        return tuple(block.mixer.decay() for block in self.layers)

    def step(
        self, e: Tensor, position: Tensor, seen: Tensor, cached: tuple[Tensor, ...], prepared: tuple[Tensor, ...]
    ) -> Tensor:
        n = len(self.layers)
        for block, before, h, decay in zip(self.layers, cached[:n], cached[n:], prepared, strict=True):
            e = e + block.mixer.step(block.norm(e), before, h, decay)
        return e


def scan(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The selective scan: dt, x (B, T, E), A (N, E), B, C (B, T, N), h (B, N, E) -> C h (B, T, E) and the last h."""
    gate = torch.exp(dt[:, :, None] * A)  # (B, T, N, E)
    drive = (dt * x)[:, :, None] * B[..., None]
    states, last = linear_recurrence(gate.flatten(2), drive.flatten(2), h.flatten(1))
    y = (C[:, :, None] @ states.view_as(gate))[:, :, 0]
    return y, last.view_as(h)


def scan_in_parts(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """`scan` over a few steps at a time, in little memory."""
    steps = max(1, _SCAN_VALUES // (h.numel() or 1))
    parts = []
    for first in range(0, x.shape[1], steps):
        now = slice(first, first + steps)
        y, h = scan(dt[:, now], A, B[:, now], C[:, now], x[:, now], h)
        parts.append(y)
    return torch.cat(parts, dim=1), h
