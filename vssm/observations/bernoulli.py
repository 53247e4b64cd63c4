"""Bits: each value 0 or 1, independent given the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vssm.exact import exact_exp
from vssm.noise import Counters, Purpose
from vssm.observations.base import Observation, whole_numbers


class BernoulliObservation(Observation):
    """Independent bits; params are logits."""

    dtype = torch.uint8

    def __init__(self, size: int, width: int, linear: bool) -> None:
        super().__init__(size, (size, 1), width, linear)
        self.feature_size = size

    def embed(self, x: Tensor) -> Tensor:
        return 2.0 * x.float() - 1.0

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(params[..., 0], x.to(params.dtype), reduction="none")
        return -loss.sum(-1)

    def draw_noise(self, noise: Counters, steps: int, temperature: Tensor) -> Tensor:
        return noise.draw("logistic", Purpose.OBSERVATION, steps, self.size) * temperature[:, None, None]

    def choose(self, params: Tensor, noise: Tensor) -> Tensor:
        return (noise < params[..., 0]).to(torch.uint8)

    def mean(self, params: Tensor, temperature: Tensor) -> Tensor:
        scale = temperature.clamp(min=1e-6)[:, None, None]
        return 1.0 / (1.0 + exact_exp(-params[..., 0] / scale))

    def describe(self) -> dict[str, Any]:
        return {"kind": "bernoulli", "classes": 2, "low": 0, "high": 1, "dtype": "uint8"}

    def _check_range(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return whole_numbers(x, 1, np.uint8)
