"""A decoder that also reads earlier values: p(x_t | z_{1..t}, x_{<t}), for exact mode.

    x  values               (B, T, size)     e  their features            (B, T, F)
    d  features of latents  (B, T, D)        b  what the stack knows      (B, T, D)

    far    b_t = W stack(far(e_{t-n-1}, e_{t-...}, ...) + position + d_t)     n = `near`: nothing nearer than n + 1
    near   params_t = V activate(b_t + near(e_{t-1}, ..., e_{t-n}))           one step after another, but cheap

So the costly part of n + 1 steps depends on known values only, and can be computed for all of them at once; the cheap
part goes through them in order. What comes before the first step has the features 0. This module knows the networks and
their likelihood; `vssm.solve` samples from them.

A latent-free model of this kind is an autoregressive SSM: its noise u_t ~ Uniform(0, 1) is its latent,
x_t = F_t^-1(u_t) its decoder, uniform on (F_t(x_t - 1), F_t(x_t)] its exact encoder, so the ELBO equals log p(x).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm.config import ModelConfig
from vssm.observations import Observation
from vssm.ssm import MLP, Stack


class Past(nn.Module):
    """The networks between earlier values and the head; the head itself is the observation's."""

    def __init__(self, model: ModelConfig, observation: Observation) -> None:
        super().__init__()
        config, width, features = model.past, model.decoder.width, observation.feature_size
        assert config is not None
        self.config = config
        self.far = nn.Linear(len(config.far) * features, width)
        self.positions = cast("list[nn.Embedding]", nn.ModuleList(nn.Embedding(n, width) for n in config.grid))
        for embedding in self.positions:
            nn.init.normal_(embedding.weight, std=0.1)
        self.stack = Stack(width, model.decoder.state, config.layers)
        self.near = nn.Linear(config.near * features, width, bias=False) if config.near else None
        if self.near is not None:
            observation.expect(self.near, _expected(config.near, config.grid[-1] if len(config.grid) > 1 else None))
        self._distances: Tensor | None = None
        self.auxiliary = MLP(width, width, math.prod(observation.params_shape)) if config.auxiliary_weight else None

    def distances(self, device: torch.device) -> Tensor:
        """Those that the stack reads, int64; made once, as a copy from the host would wait for the device."""
        if self._distances is None or self._distances.device != device:
            self._distances = torch.tensor(self.config.far, device=device)
        return self._distances

    def place(self, position: Tensor) -> Tensor | None:
        """Embedding (..., D) of positions (...) int64, by their coordinates in the grid, repeated beyond it."""
        total, rest = None, position
        for size, embedding in zip(reversed(self.config.grid), reversed(list(self.positions)), strict=True):
            here: Tensor = embedding(rest % size)
            total = here if total is None else total + here
            rest = rest // size
        return total

    def read(self, e: Tensor) -> Tensor | float:
        """What the head reads directly (..., D) of features (..., near * F) of the last steps, the nearest first."""
        return 0.0 if self.near is None else cast(Tensor, self.near(e))

    def whole(self, e: Tensor, d: Tensor | None) -> tuple[Tensor, Tensor | float]:
        """Of whole sequences e (B, T, F): what the stack makes, and what the head reads directly, both (B, T, D)."""
        u: Tensor = self.far(earlier(e, self.config.far))
        place = self.place(torch.arange(e.shape[1], device=e.device))
        u = u if place is None else u + place
        features, _ = self.stack(u if d is None else u + d, self.stack.start(e.shape[0], u))
        return features, self.read(earlier(e, range(1, self.config.near + 1)))


def _expected(near: int, row: int | None) -> dict[int, float]:
    """What a value is about, as shares of those before it by their distance: with rows, also of the one above."""
    if row is None or near <= row:
        return {1: 1.0}
    return {1: 0.75, row: 0.65, row + 1: -0.4}  # of photographs, by least squares


def earlier(e: Tensor, distances: tuple[int, ...] | range) -> Tensor:
    """Features (B, T, F) of the steps at these distances before each step, side by side (B, T, len * F)."""
    steps = e.shape[1]
    shifted = [F.pad(e[:, : max(0, steps - k)], (0, 0, min(k, steps), 0)) for k in distances]
    return torch.cat(shifted, dim=-1) if shifted else e[..., :0]


def hidden(observation: Observation, features: Tensor) -> Tensor:
    """b (B, T, D): the first half of the observation's head, before its nonlinearity."""
    norm, first, _, _ = cast(MLP, observation.head)
    b: Tensor = first(norm(features))
    return b


def params(observation: Observation, b: Tensor) -> Tensor:
    """Parameters (B, T, *params_shape): the second half of the head."""
    _, _, activation, last = cast(MLP, observation.head)
    return observation.shaped(last(activation(b)))


def sweep(past: Past, observation: Observation, b: Tensor, e: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The head through the steps in order, as its formula reads; see `Networks.sweep`."""
    count, values, made = past.config.near, [], []
    for t in range(b.shape[1]):
        read = past.read(e[:, t : t + count].flip(1).flatten(1)[:, None])
        theirs = params(observation, b[:, t : t + 1] + read)
        chosen = observation.choose(theirs, noise[:, t : t + 1])
        e[:, count + t] = observation.embed(chosen)[:, 0].to(e.dtype)
        values.append(chosen)
        made.append(theirs)
    return torch.cat(values, dim=1), torch.cat(made, dim=1)
