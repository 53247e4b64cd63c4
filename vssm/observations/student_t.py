"""Real numbers with heavy tails: Student's t with location and scale of every value, degrees of freedom a channel."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vssm.exact import exact_exp
from vssm.noise import Counters, Purpose
from vssm.observations.bailey import student_noise
from vssm.observations.base import Observation, pass_on, real_numbers

LEAST_FREEDOM = 2.1  # above 2 the variance is finite
LOG_SCALE_LIMIT = 10.0
_LOG_SCALE_AROUND = -1.5  # what is expected from those before
_LOG_FREEDOM_LIMIT = 8.0
_LOG_FREEDOM_AT_FIRST = math.log(5.0)


class StudentTObservation(Observation):
    """params (B, T, size, 2) are location and log scale; nu = 2.1 + exp(log_freedom) is learned per channel."""

    dtype = torch.float32

    def __init__(self, size: int, width: int, linear: bool) -> None:
        super().__init__(size, (size, 2), width, linear)
        self.feature_size = size
        self.log_freedom = nn.Parameter(torch.full((size,), _LOG_FREEDOM_AT_FIRST))

    def expect(self, near: nn.Linear, shares: dict[int, float]) -> None:
        """See `Observation`."""
        sums = pass_on(self.head, near, self.size, shares)
        if sums is None:
            return
        last = cast(nn.Linear, cast(nn.Sequential, self.head)[-1])
        with torch.no_grad():
            last.weight.view(self.size, 2, -1)[:, 0, : sums.shape[1]] = sums
            last.bias.view(self.size, 2)[:, 1] = _LOG_SCALE_AROUND

    def degrees_of_freedom(self) -> Tensor:
        """nu (size,), from 2.1 to about 3000, where the distribution is as good as normal."""
        return LEAST_FREEDOM + exact_exp(self.log_freedom.clamp(-_LOG_FREEDOM_LIMIT, _LOG_FREEDOM_LIMIT))

    def embed(self, x: Tensor) -> Tensor:
        return x if x.is_floating_point() else x.float()

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        location, log_scale = params[..., 0], _limited(params[..., 1])
        nu = self.degrees_of_freedom()
        standard = (x - location) * torch.exp(-log_scale)
        half = 0.5 * (nu + 1.0)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * nu) - 0.5 * torch.log(math.pi * nu)
        return (constant - log_scale - half * torch.log1p(standard * standard / nu)).sum(-1)

    def draw_noise(self, noise: Counters, steps: int, temperature: Tensor) -> Tensor:
        words = noise.draw("word", Purpose.OBSERVATION, steps, 2 * self.size)
        return student_noise(words, self.degrees_of_freedom()) * temperature[:, None, None]

    def choose(self, params: Tensor, noise: Tensor) -> Tensor:
        return params[..., 0] + exact_exp(_limited(params[..., 1])) * noise

    def mean(self, params: Tensor, temperature: Tensor) -> Tensor:
        return params[..., 0].clone()

    def describe(self) -> dict[str, Any]:
        return {"kind": "student_t", "classes": None, "low": None, "high": None, "dtype": "float32"}

    def _check_range(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return real_numbers(x)


def _limited(log_scale: Tensor) -> Tensor:
    return log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
