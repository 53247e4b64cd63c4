"""Classes: each value one of K, independent given the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm.noise import Counters, Purpose
from vssm.observations.base import Observation, whole_numbers


class CategoricalObservation(Observation):
    """Each value one of K classes; params are logits."""

    dtype = torch.int64

    def __init__(self, size: int, width: int, linear: bool, classes: int) -> None:
        super().__init__(size, (size, classes), width, linear)
        self.classes = classes
        embedded = min(32, classes)
        self.embedding = nn.Embedding(classes, embedded)
        self.feature_size = size * embedded

    def embed(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(x)
        return embedded.flatten(-2)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return -F.cross_entropy(params.flatten(0, 2), x.flatten(), reduction="none").view(x.shape).sum(-1)

    def draw_noise(self, noise: Counters, steps: int, temperature: Tensor) -> Tensor:
        flat = noise.draw("gumbel", Purpose.OBSERVATION, steps, self.size * self.classes)
        return flat.view(*flat.shape[:2], self.size, self.classes) * temperature[:, None, None, None]

    def choose(self, params: Tensor, noise: Tensor) -> Tensor:
        return (params + noise).argmax(-1)

    def mean(self, params: Tensor, temperature: Tensor) -> Tensor:
        return params.argmax(-1).float()

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "categorical",
            "classes": self.classes,
            "low": 0,
            "high": self.classes - 1,
            "dtype": "int64",
        }

    def _check_range(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return whole_numbers(x, self.classes - 1, np.int64)
