"""Other ways to make values of noise: one uniform number through the inverse distribution function of each value.

    classes   u -> the first class whose cumulative probability exceeds u, the classes in some order
    pixels    u -> the first level whose F exceeds u, channel after channel, by bisection over the levels

They draw from the same distributions as an observation's own `choose`, with other noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vssm import VSSM
from vssm.noise import Counters, Purpose
from vssm.observations.logistic_mixture import LogisticMixtureObservation
from vssm.observations.pixels import LOG_SCALE_LIMIT, Shape, scaled

Choose = Callable[[Tensor, Tensor], Tensor]
OWN = "as shipped"


def by_index(params: Tensor, u: Tensor) -> Tensor:
    """Classes (B, T, size) in the order of their numbers, from u (B, T, size)."""
    return _first(torch.softmax(params.double(), dim=-1), u)


def likeliest_first(params: Tensor, u: Tensor) -> Tensor:
    """Classes in the order of their probabilities, the largest first."""
    probabilities, order = torch.softmax(params.double(), dim=-1).sort(dim=-1, descending=True, stable=True)
    return order.gather(-1, _first(probabilities, u)[..., None])[..., 0]


def _first(probabilities: Tensor, u: Tensor) -> Tensor:
    return (probabilities.cumsum(-1) <= u[..., None]).sum(-1).clamp(max=probabilities.shape[-1] - 1)


def levels(shape: Shape) -> Choose:
    """Of pixels one a step: a channel's F given those before is of a mixture whose shares they have changed."""
    K, C, top = shape.components, shape.channels, shape.levels - 1

    def choose(params: Tensor, u: Tensor) -> Tensor:
        rows, values = params[..., 0].double(), list[Tensor]()
        shares, links = torch.softmax(rows[..., :K], dim=-1), rows[..., K * (1 + 2 * C) :]
        for c in range(C):
            mean = rows[..., K + c * K : K + (c + 1) * K]
            for j in range(c):
                mean = mean + links[..., (c - 1 + j) * K : (c + j) * K] * scaled(values[j], shape.levels)[..., None]
            log_scale = rows[..., K + C * K + c * K : K + C * K + (c + 1) * K]
            scale = log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT).exp()

            def below(level: Tensor, mean: Tensor = mean, scale: Tensor = scale) -> Tensor:
                """F at the upper end of a level's bin, of every component (B, T, K)."""
                end = torch.sigmoid((scaled(level + 0.5, shape.levels)[..., None] - mean) / scale)
                return torch.where((level < 0)[..., None], 0.0, torch.where((level >= top)[..., None], 1.0, end))

            level = _bisected(partial(_mixed, shares, below), u[..., c], top)
            values.append(level)
            inside = shares * (below(level) - below(level - 1.0)).clamp(min=1e-300)
            shares = inside / inside.sum(-1, keepdim=True)
        return torch.stack(values, dim=-1).to(torch.uint8)

    return choose


def _mixed(shares: Tensor, below: Callable[[Tensor], Tensor], level: Tensor) -> Tensor:
    return (shares * below(level)).sum(-1)


def _bisected(below: Callable[[Tensor], Tensor], u: Tensor, top: int) -> Tensor:
    """The first level of 0..top, floating point, whose F exceeds u."""
    low, high = torch.zeros_like(u), torch.full_like(u, float(top))
    for _ in range(top.bit_length()):
        middle = torch.floor(0.5 * (low + high))
        over = below(middle) > u
        low, high = torch.where(over, low, torch.minimum(middle + 1.0, high)), torch.where(over, middle, high)
    return high


COUPLINGS: dict[str, tuple[str, ...]] = {
    "categorical": (OWN, "inverse, by number", "inverse, likeliest first"),
    "logistic_mixture": (OWN, "inverse"),
}


@contextmanager
def coupled(model: VSSM, name: str) -> Iterator[None]:
    """The model with that coupling, for the torch modules."""
    observation = model.observation
    if name == OWN:
        yield
        return
    if isinstance(observation, LogisticMixtureObservation):
        choose = levels(observation.shape)
    else:
        choose = by_index if name.endswith("number") else likeliest_first
    ours: dict[str, Any] = {"choose": choose, "draw_noise": _uniform(observation.size)}
    for method, function in ours.items():
        setattr(observation, method, function)
    try:
        yield
    finally:
        for method in ours:
            delattr(observation, method)


def _uniform(size: int) -> Callable[[Counters, int, Tensor], Tensor]:
    def draw(counters: Counters, steps: int, temperature: Tensor) -> Tensor:
        words = counters.draw("word", Purpose.OBSERVATION, steps, size)
        return (words.double() + 0.5) * 2.0**-32

    return draw
