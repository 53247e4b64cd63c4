"""Observation models p(x_t | h_t): a head on the decoder, its log-likelihood, and sampling from given noise.

features  (B, T, D)        what the decoder knows after z_t
x         (B, T, size)     uint8 0/1, int64 classes or float32
params    (B, T, size, P)  of each value's distribution; P = 1, classes, or 2
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm import config
from vssm.exact import exact_exp
from vssm.noise import Counters, Purpose
from vssm.ssm import MLP


class ObservationError(ValueError):
    """Observed values that do not fit the model; the message says what was wrong and what is allowed."""


class Observation(nn.Module, ABC):
    """A head from decoder features to the distribution of one step's values."""

    dtype: torch.dtype
    feature_size: int
    params_each: int

    def __init__(self, size: int, width: int, linear: bool) -> None:
        super().__init__()
        self.size = size
        out = size * self.params_each
        self.head: nn.Module = nn.Linear(width, out) if linear else MLP(width, width, out)

    def params(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, size, P)."""
        out: Tensor = self.head(features)
        return out.reshape(*out.shape[:-1], self.size, self.params_each)

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """What the encoder reads: (B, T, size) -> float (B, T, feature_size)."""

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x_t | h_t) in nats, (B, T)."""

    def sample(self, params: Tensor, noise: Counters, temperature: Tensor) -> Tensor:
        """One draw of every value, (B, T, size); `temperature` (B,) scales the noise, 0 gives the most likely value."""
        return self.choose(params, self.draw_noise(noise, params.shape[1], temperature))

    @abstractmethod
    def draw_noise(self, noise: Counters, steps: int, temperature: Tensor) -> Tensor:
        """The noise of `steps` steps of values, scaled: float32 (B, T, size), categorical (B, T, size, P)."""

    @abstractmethod
    def choose(self, params: Tensor, noise: Tensor) -> Tensor:
        """The values (B, T, size) that scaled noise makes of their distributions."""

    @abstractmethod
    def mean(self, params: Tensor, temperature: Tensor) -> Tensor:
        """Expected values (B, T, size) float32; the most likely value for categories."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """kind, classes, low, high and dtype of a value, for interfaces."""

    def check(self, values: Any) -> np.ndarray[Any, Any]:
        """Observed values as an array (steps, size) of this model's dtype; raises ObservationError."""
        try:
            x = np.asarray(values)
        except (ValueError, TypeError, OverflowError) as error:
            raise ObservationError(f"observed values are not a rectangular array: {error}") from None
        if x.ndim == 1 and self.size == 1:
            x = x[:, None]
        if x.ndim != 2 or x.shape[1] != self.size:
            raise ObservationError(f"observed values must be of shape (steps, {self.size}), not {x.shape}")
        if x.dtype.kind not in "buif":
            raise ObservationError(f"observed values must be numbers, not {x.dtype}")
        if not np.isfinite(x).all():
            raise ObservationError("observed values must be finite: NaN or infinity found")
        return self._check_range(x)

    @abstractmethod
    def _check_range(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]: ...


def _whole_numbers(x: np.ndarray[Any, Any], high: int, dtype: type) -> np.ndarray[Any, Any]:
    if x.size and not ((x >= 0) & (x <= high) & (x == np.floor(x))).all():
        wrong = x[~((x >= 0) & (x <= high) & (x == np.floor(x)))].flat[0]
        raise ObservationError(f"observed values must be whole numbers from 0 to {high}; found {wrong}")
    return x.astype(dtype)


class BernoulliObservation(Observation):
    """Independent bits; params are logits."""

    dtype = torch.uint8
    params_each = 1

    def __init__(self, size: int, width: int, linear: bool) -> None:
        super().__init__(size, width, linear)
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
        return _whole_numbers(x, 1, np.uint8)


class CategoricalObservation(Observation):
    """Each value one of K classes; params are logits."""

    dtype = torch.int64

    def __init__(self, size: int, width: int, linear: bool, classes: int) -> None:
        self.params_each = classes
        super().__init__(size, width, linear)
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
        return _whole_numbers(x, self.classes - 1, np.int64)


class GaussianObservation(Observation):
    """Real values; params are the means, the scale of each channel is learned."""

    dtype = torch.float32
    params_each = 1

    def __init__(self, size: int, width: int, linear: bool) -> None:
        super().__init__(size, width, linear)
        self.feature_size = size
        self.log_scale = nn.Parameter(torch.zeros(size))

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
        if x.size and np.abs(x).max() > 1e6:
            raise ObservationError("observed values must lie between -1e6 and 1e6")
        return x.astype(np.float32)


def build_observation(observation: config.Observation, size: int, width: int, linear: bool = False) -> Observation:
    """The observation model of `size` values a step that reads features of `width` channels."""
    match observation:
        case config.Bernoulli():
            return BernoulliObservation(size, width, linear)
        case config.Categorical(classes=classes):
            return CategoricalObservation(size, width, linear, classes)
        case config.Gaussian():
            return GaussianObservation(size, width, linear)
