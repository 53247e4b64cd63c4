"""What every observation model p(x_t | h_t) offers: log-likelihood, sampling from given noise, checks of values.

features  (B, T, D)               what the decoder knows after z_t
x         (B, T, size)            uint8, int64 or float32
params    (B, T, *params_shape)   of the distribution of a step's values; mostly (size, P)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vssm.noise import Counters
from vssm.ssm import MLP

LARGEST = 1e6
_REST_AT_FIRST = 0.1  # how little values that are expected from those before depend on else


class ObservationError(ValueError):
    """Observed values that do not fit the model; the message says what was wrong and what is allowed."""


class Observation(nn.Module, ABC):
    """A head from decoder features to the distribution of one step's values."""

    dtype: torch.dtype
    feature_size: int

    def __init__(self, size: int, params_shape: tuple[int, int], width: int, linear: bool) -> None:
        super().__init__()
        self.size, self.params_shape = size, params_shape
        out = math.prod(params_shape)
        self.head: nn.Module = nn.Linear(width, out) if linear else MLP(width, width, out)

    def params(self, features: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, *params_shape)."""
        out: Tensor = self.head(features)
        return self.shaped(out)

    def shaped(self, out: Tensor) -> Tensor:
        """What the head makes, (B, T, outputs), as parameters (B, T, *params_shape)."""
        return out.reshape(*out.shape[:-1], *self.params_shape)

    def expect(self, near: nn.Linear, shares: dict[int, float]) -> None:
        """Makes values begin near a sum of `shares` of those before, by distance, of whose features `near` reads.

        Classes and bits leave this to training.
        """

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
        """The noise of `steps` steps of values, scaled: float32 (B, T, ...), as `choose` takes it."""

    @abstractmethod
    def choose(self, params: Tensor, noise: Tensor) -> Tensor:
        """The values (B, T, size) that scaled noise makes of their distributions."""

    @abstractmethod
    def mean(self, params: Tensor, temperature: Tensor) -> Tensor:
        """Expected values (B, T, size) float32, given the latents; the most likely value for categories."""

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


def pass_on(head: nn.Module, near: nn.Linear, size: int, shares: dict[int, float]) -> Tensor | None:
    """Has hidden units of `head` hold such a sum of values; returns what makes it of them, (size, units).

    Two units a value do, as activate(h) - activate(-h) = h. None where the head has too few.
    """
    _, first, _, last = cast("list[nn.Linear]", head)
    units = 2 * size
    if last.in_features < units:
        return None
    both = torch.eye(size).repeat_interleave(2, 0) * torch.tensor([1.0, -1.0]).repeat(size)[:, None]  # (units, size)
    with torch.no_grad():
        for tensor in (first.weight, first.bias, near.weight):
            tensor[:units] = 0.0
        for distance, share in shares.items():
            near.weight[:units, (distance - 1) * size : distance * size] = share * both
        last.weight *= _REST_AT_FIRST
    return both.T


def whole_numbers(x: np.ndarray[Any, Any], high: int, dtype: type) -> np.ndarray[Any, Any]:
    """x as `dtype`; raises ObservationError unless all are whole numbers from 0 to `high`."""
    if x.size and not ((x >= 0) & (x <= high) & (x == np.floor(x))).all():
        wrong = x[~((x >= 0) & (x <= high) & (x == np.floor(x)))].flat[0]
        raise ObservationError(f"observed values must be whole numbers from 0 to {high}; found {wrong}")
    return x.astype(dtype)


def real_numbers(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """x as float32; raises ObservationError where a number is too large to compute with."""
    if x.size and np.abs(x).max() > LARGEST:
        raise ObservationError(f"observed values must lie between {-LARGEST:g} and {LARGEST:g}")
    return x.astype(np.float32)
