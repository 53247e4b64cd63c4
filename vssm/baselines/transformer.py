"""The Transformer rival: pre-norm blocks of causal attention with rotary positions and a gated MLP.

    W  width    H  heads    D = W / H    C  capacity of the cache in steps
    cached   layers times keys (B, H, C, D), already turned by their positions, then layers times values

Sources: Vaswani et al., 2017; rotary positions: Su et al., "RoFormer", 2021; SwiGLU: Shazeer, "GLU variants improve
transformer", 2020; RMSNorm: Zhang and Sennrich, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm.baselines.config import TransformerConfig
from vssm.baselines.rival import Rival

_ROTARY_BASE = 10_000.0
_QUERIES_AT_ONCE = 1024  # against a cache: bounds the mask's memory


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); `qkv` and `up` hold several matrices in one."""

    def __init__(self, width: int, heads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, width // heads
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-5)
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        with torch.no_grad():
            for last in (self.out, self.down):
                last.weight.mul_(1.0 / math.sqrt(2.0 * layers))

    def project(self, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, W) -> q, k, v (B, H, T, D), q and k turned by their positions."""
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, self.head_size))  # (B, T, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return rotate(q, turn), rotate(k, turn), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block from attention's result (B, H, T, D)."""
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        gate, value = self.up(self.mlp_norm(x)).chunk(2, dim=-1)
        result: Tensor = x + self.down(F.silu(gate) * value)
        return result


class Transformer(Rival):
    """A decoder-only Transformer."""

    config: TransformerConfig
    grows: ClassVar[bool] = True

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        sizes = (config.width, config.heads, config.hidden, config.layers)
        self.layers = cast("list[Block]", nn.ModuleList(Block(*sizes) for _ in range(config.layers)))

    def stack(self, e: Tensor) -> Tensor:
        turn = self._turns(torch.arange(e.shape[1], device=e.device))
        for block in self.layers:
            q, k, v = block.project(e, turn)
            e = block.finish(e, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return e

    def empty(self, num_samples: int, capacity: int) -> tuple[Tensor, ...]:
        config, like = self.config, self.start
        shape = (num_samples, config.heads, capacity, config.width // config.heads)
        return tuple(like.new_zeros(shape) for _ in range(2 * config.layers))

    def prefill(self, e: Tensor, position: int, cached: tuple[Tensor, ...]) -> Tensor:
        if position == 0:
            return self._prefill(e, 0, cached)
        for first in range(0, e.shape[1], _QUERIES_AT_ONCE):
            last = self._prefill(e[:, first : first + _QUERIES_AT_ONCE], position + first, cached)
        return last

    def _prefill(self, e: Tensor, position: int, cached: tuple[Tensor, ...]) -> Tensor:
        """One pass over all steps of e; only one from the start does without a mask, in memory linear in its steps."""
        end = position + e.shape[1]
        at = torch.arange(position, end, device=e.device)
        turn = self._turns(at)
        mask = torch.arange(end, device=e.device) <= at[:, None] if position else None  # (T, end)
        for block, keys, values in self._with(cached):
            q, k, v = block.project(e, turn)
            keys[:, :, position:end], values[:, :, position:end] = k, v
            q, k, v = (q, keys[:, :, :end], values[:, :, :end]) if position else (q, k, v)
            e = block.finish(e, F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None))
        return e[:, -1]

    def prepare(self) -> tuple[Tensor, ...]:
        return ()

    def step(
        self, e: Tensor, position: Tensor, seen: Tensor, cached: tuple[Tensor, ...], prepared: tuple[Tensor, ...]
    ) -> Tensor:
        turn = self._turns(position)
        beyond = torch.where(seen <= position, 0.0, -torch.inf)  # (n,)
        x = e[:, None]  # (B, 1, W)
        for block, keys, values in self._with(cached):
            q, k, v = block.project(x, turn)
            keys.index_copy_(2, position, k)
            values.index_copy_(2, position, v)
            known = slice(0, seen.shape[0])
            x = block.finish(x, attend(q, keys[:, :, known], values[:, :, known], beyond))
        return x[:, 0]

    def _with(self, cached: tuple[Tensor, ...]) -> Iterator[tuple[Block, Tensor, Tensor]]:
        n = len(self.layers)
        return zip(self.layers, cached[:n], cached[n:], strict=True)

    def _turns(self, at: Tensor) -> Tensor:
        """Cosine and sine (2, T, D / 2) of every pair's angle at positions (T,)."""
        half = self.config.width // self.config.heads // 2
        pace = _ROTARY_BASE ** (-torch.arange(half, device=at.device, dtype=torch.float64) / half)
        angle = at[:, None] * pace
        return torch.stack([angle.cos(), angle.sin()]).to(self.start.dtype)


def attend(q: Tensor, keys: Tensor, values: Tensor, beyond: Tensor) -> Tensor:
    """Attention of one query (B, H, 1, D) over n steps (B, H, n, D); `beyond` (n,) is added to the scores.

    Written out: compiled, it is one loop with what is around it, where a library's attention is made for many queries.
    """
    scores = (q * keys).sum(-1) / math.sqrt(q.shape[-1]) + beyond  # (B, H, n)
    return (scores.softmax(-1)[..., None] * values).sum(-2, keepdim=True)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + D/2}) of x (B, H, T, D) by the angles whose cosine and sine are given."""
    cos, sin = turn
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
