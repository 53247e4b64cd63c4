"""Real numbers with normal noise of one scale a channel."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vssm.exact import exact_exp
from vssm.noise import Counters, Purpose
from vssm.observations.base import Observation, pass_on, real_numbers


class GaussianObservation(Observation):
    """Real values; params are the means, the scale of each channel is learned."""

    dtype = torch.float32

    def __init__(self, size: int, width: int, linear: bool) -> None:
        super().__init__(size, (size, 1), width, linear)
        self.feature_size = size
        self.log_scale = nn.Parameter(torch.zeros(size))

    def expect(self, near: nn.Linear, shares: dict[int, float]) -> None:
        """See `Observation`."""
        sums = pass_on(self.head, near, self.size, shares)
        if sums is not None:
            last = cast(nn.Linear, cast(nn.Sequential, self.head)[-1])
            with torch.no_grad():
                last.weight[:, : sums.shape[1]] = sums

    def embed(self, x: Tensor) -> Tensor:
        return x if x.is_floating_point() else x.float()

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        standard = (x - params[..., 0]) * torch.exp(-self.log_scale)
        return -(0.5 * standard * standard + self.log_scale + 0.5 * math.log(2.0 * math.pi)).sum(-1)

    def draw_noise(self, noise: Counters, steps: int, temperature: Tensor) -> Tensor:
        eps = noise.draw("normal", Purpose.OBSERVATION, steps, self.size)
        return (eps * temperature[:, None, None]) * exact_exp(self.log_scale)

    def choose(self, params: Tensor, noise: Tensor) -> Tensor:
        return params[..., 0] + noise

    def mean(self, params: Tensor, temperature: Tensor) -> Tensor:
        return params[..., 0].clone()

    def describe(self) -> dict[str, Any]:
        return {"kind": "gaussian", "classes": None, "low": None, "high": None, "dtype": "float32"}

    def _check_range(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return real_numbers(x)
