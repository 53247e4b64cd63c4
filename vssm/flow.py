"""A coupling flow: an invertible map from base noise to the latents of a step, with its density, parallel in time.

    eps   base noise  (..., Z)       z    what it becomes   (..., Z)
    d     features that the map may depend on  (..., D), or None

    a, b = halves;  b' = mean(a, d) + exp(log scale(a, d)) * b;  halves change places; K times

Dinh et al., "Density estimation using Real NVP", 2017. Steps of a sequence do not depend on each other here: what goes
across time is in d.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from vssm.exact import exact_exp
from vssm.ssm import MLP

LOG_SCALE_LIMIT = 8.0


def moments(params: Tensor) -> tuple[Tensor, Tensor]:
    """Means and clamped log scales (..., Z) from (..., 2Z)."""
    mean, log_scale = params.chunk(2, dim=-1)
    return mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)


class Flow(nn.Module):
    """`couplings` maps of `size` (even) latents, given features of `width` channels (0: none)."""

    def __init__(self, size: int, couplings: int, width: int, hidden: int) -> None:
        super().__init__()
        half = size // 2
        nets = (MLP(half + width, hidden, 2 * half, gain=0.1) for _ in range(couplings))
        self.nets = cast("list[MLP]", nn.ModuleList(nets))

    def forward(self, eps: Tensor, d: Tensor | None) -> Tensor:
        """Base noise -> z."""
        a, b = eps.chunk(2, dim=-1)
        for net in self.nets:
            mean, log_scale = moments(net(given(a, d)))
            a, b = mean + exact_exp(log_scale) * b, a
        return torch.cat([a, b], dim=-1)

    def inverse(self, z: Tensor, d: Tensor | None) -> tuple[Tensor, Tensor]:
        """z -> base noise, and the sum of the log scales (...): log p(z) = log N(eps; 0, I) - that."""
        a, b = z.chunk(2, dim=-1)
        total = torch.zeros_like(z[..., 0])
        for net in reversed(self.nets):
            mean, log_scale = moments(net(given(b, d)))
            a, b = b, (a - mean) * exact_exp(-log_scale)
            total = total + log_scale.sum(-1)
        return torch.cat([a, b], dim=-1), total


def given(a: Tensor, d: Tensor | None) -> Tensor:
    """What the networks of latents read: features, with those of the level below where there is one."""
    return a if d is None else torch.cat([a, d], dim=-1)
