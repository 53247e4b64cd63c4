"""Pixels: a discretised mixture of logistic distributions, whose channels and neighbours are linked linearly.

    x       (B, T, size)         size = pixels W x channels C, pixel-major; levels 0..L-1, scaled to [-1, 1]
    params  (B, T, P, W)         the rows of P, for K components
                                 K       logits of the components, which the channels of a pixel share
                                 C x K   means, C x K log scales
                                 3 x K   links, with C = 3: green on red, blue on red, blue on green
                                 C x C   context, where wanted: on the channels of the pixel before

The mean of channel c of component k at pixel i is means[c, k, i] + sum_j context[c, j, i] x[j, i - 1] + links times the
earlier channels of pixel i; a level has the probability of its bin, the outermost bins reach to infinity. Source:
Salimans et al., "PixelCNN++", 2017; the dependence on the pixel before is ours. A step is drawn pixel by pixel, all
sequences and steps at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm import config
from vssm.exact import exact_exp
from vssm.noise import Counters, Purpose
from vssm.observations.base import Observation, pass_on, whole_numbers
from vssm.observations.pixels import LOG_SCALE_LIMIT, Shape, draw_pixels, scaled

_CONTEXT_AT_FIRST = _LINK_AT_FIRST = 0.8
_LOG_SCALE_AT_FIRST = -2.5
_SPREAD_AT_FIRST = 0.2
_LOG_SCALES_AROUND = (-4.5, -2.5)  # what is expected from those before
_GUMBEL, _LOGISTIC = Purpose.OBSERVATION, Purpose.OBSERVATION + 1


class Parts(NamedTuple):
    """The rows of params by their meaning; links and context are without rows where there are none."""

    logits: Tensor  # (B, T, K, W)
    means: Tensor  # (B, T, C, K, W)
    log_scales: Tensor  # (B, T, C, K, W), limited
    links: Tensor  # (B, T, 3, K, W)
    context: Tensor  # (B, T, C, C, W)


class LogisticMixtureObservation(Observation):
    """Levels of grey or RGB pixels."""

    dtype = torch.uint8

    def __init__(self, size: int, width: int, linear: bool, settings: config.LogisticMixture) -> None:
        shape = Shape(settings.components, settings.channels, settings.levels, settings.context)
        super().__init__(size, (shape.rows, size // settings.channels), width, linear)
        self.shape, self.feature_size = shape, size
        self._initialise()

    def _initialise(self) -> None:
        """At first a pixel is about like the one before it, changes of its channels go together, and components differ.

        Links are a matter of hundreds of steps to learn and worth a bit a value, so it does not start without them.
        """
        last = cast(nn.Linear, self.head if isinstance(self.head, nn.Linear) else cast(nn.Sequential, self.head)[-1])
        shape = self.shape
        K, C = shape.components, shape.channels
        with torch.no_grad():
            weight, bias = last.weight.view(*self.params_shape, -1), last.bias.view(self.params_shape)
            bias.zero_()
            bias[K : K + C * K] = torch.linspace(-_SPREAD_AT_FIRST, _SPREAD_AT_FIRST, K).repeat(C)[:, None]
            bias[K + C * K : K + 2 * C * K] = _LOG_SCALE_AT_FIRST
            if shape.context:
                weight[-C * C :] *= 0.1
                bias[-C * C :] = _CONTEXT_AT_FIRST * _apart(C).reshape(-1, 1)
            links = bias[K + 2 * C * K : K + (2 * C + shape.links) * K].view(shape.links, K, self.params_shape[1])
            for c in range(1, C):  # a channel on the one before it: the last link of each channel
                links[2 * (c - 1)] = _LINK_AT_FIRST

    def expect(self, near: nn.Linear, shares: dict[int, float]) -> None:
        """See `Observation`; a step of many pixels begins with their links to each other instead."""
        K, C = self.shape.components, self.shape.channels
        sums = None if self.params_shape[1] > 1 else pass_on(self.head, near, C, shares)
        if sums is None:
            return
        last = cast(nn.Linear, cast(nn.Sequential, self.head)[-1])
        with torch.no_grad():
            means = last.weight[K : K + C * K].view(C, K, -1)
            means[:, :, : sums.shape[1]] = (_apart(C) @ sums)[:, None]
            last.bias[K : K + C * K] = 0.0
            last.bias[K + C * K : K + 2 * C * K] = torch.linspace(*_LOG_SCALES_AROUND, K).repeat(C)

    def _parts(self, params: Tensor) -> Parts:
        K, C = self.shape.components, self.shape.channels
        sizes = [K, C * K, C * K, self.shape.links * K, C * C if self.shape.context else 0]
        logits, means, log_scales, links, context = torch.split(params, sizes, dim=2)
        log_scales = log_scales.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
        means, log_scales = (torch.unflatten(rows, 2, (C, K)) for rows in (means, log_scales))
        links = torch.unflatten(links, 2, (self.shape.links, K))
        return Parts(logits, means, log_scales, links, torch.unflatten(context, 2, (C if self.shape.context else 0, C)))

    def _planes(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """x (B, T, size) scaled, one plane a channel: (B, T, C, W)."""
        pixels = torch.unflatten(scaled(x.to(dtype), self.shape.levels), -1, (-1, self.shape.channels))
        return pixels.transpose(-1, -2)

    def embed(self, x: Tensor) -> Tensor:
        return scaled(x.float(), self.shape.levels)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        parts, y = self._parts(params), self._planes(x, params.dtype)
        low, high = y < -1.0 + 0.5 * self.shape.bin, y > 1.0 - 0.5 * self.shape.bin  # (B, T, C, W)
        rest = y - _from_before(parts.context, y) if self.shape.context else y
        total = F.log_softmax(parts.logits, dim=2)  # (B, T, K, W)
        for c in range(self.shape.channels):
            distance = rest[:, :, c, None] - parts.means[:, :, c]
            for j in range(c):
                distance = distance - parts.links[:, :, c - 1 + j] * y[:, :, j, None]
            ends = low[:, :, c, None], high[:, :, c, None]
            total = total + _log_bin(distance, parts.log_scales[:, :, c], self.shape.bin, *ends)
        return torch.logsumexp(total, dim=2).sum(-1)

    def draw_noise(self, noise: Counters, steps: int, temperature: Tensor) -> Tensor:
        """(B, T, W * K + W * C): Gumbel numbers for the components of every pixel, then logistic ones."""
        pixels = self.params_shape[1]
        gumbel = noise.draw("gumbel", _GUMBEL, steps, pixels * self.shape.components)
        logistic = noise.draw("logistic", _LOGISTIC, steps, pixels * self.shape.channels)
        return torch.cat([gumbel, logistic], dim=-1) * temperature[:, None, None]

    def choose(self, params: Tensor, noise: Tensor) -> Tensor:
        return draw_pixels(params, noise, self.shape)

    def mean(self, params: Tensor, temperature: Tensor) -> Tensor:
        """The mixture's mean of every pixel, in levels, when those before it in the step have theirs.

        All links are linear, so this is the expected value of the mixture, but for levels ending at the outermost ones.
        """
        parts = self._parts(params)
        weights = _exact_softmax(parts.logits, temperature)
        planes: list[Tensor] = []  # of each pixel (B, T, C)
        for i in range(params.shape[-1]):
            planes.append(self._mean_of_pixel(parts, weights, i, planes[-1] if planes else None))
        step = torch.stack(planes, dim=2).flatten(2)  # (B, T, size)
        return ((step + 1.0) * (0.5 * (self.shape.levels - 1))).float()

    def _mean_of_pixel(self, parts: Parts, weights: Tensor, i: int, before: Tensor | None) -> Tensor:
        """(B, T, C) in [-1, 1]."""
        each: list[Tensor] = []  # of each channel the mean of every component (B, T, K)
        for c in range(self.shape.channels):
            mean = parts.means[:, :, c, :, i]
            for j in range(self.shape.channels if before is not None and self.shape.context else 0):
                assert before is not None
                mean = mean + (parts.context[:, :, c, j, i] * before[..., j])[..., None]
            for j in range(c):
                mean = mean + parts.links[:, :, c - 1 + j, :, i] * each[j]
            each.append(mean)
        shares = weights[..., i]
        return torch.stack([_added(shares * mean) for mean in each], dim=-1).clamp(-1.0, 1.0)

    def describe(self) -> dict[str, Any]:
        levels = self.shape.levels
        return {"kind": "logistic_mixture", "classes": levels, "low": 0, "high": levels - 1, "dtype": "uint8"}

    def _check_range(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return whole_numbers(x, self.shape.levels - 1, np.uint8)


def _apart(channels: int) -> Tensor:
    """What means are of expected channels (C, C), where a channel is linked to the one before it at first."""
    return torch.eye(channels) - _LINK_AT_FIRST * torch.diag(torch.ones(channels - 1), -1)


def _from_before(context: Tensor, y: Tensor) -> Tensor:
    """sum_j context[c, j, i] y[j, i - 1], (B, T, C, W); nothing at the first pixel."""
    before = F.pad(y[..., :-1], (1, 0))
    return (context * before[:, :, None]).sum(3)


def _log_bin(distance: Tensor, log_scale: Tensor, width: float, low: Tensor, high: Tensor) -> Tensor:
    """log of a logistic distribution's share of a bin whose middle is `distance` from its mean.

    With a and b the standardised ends of the bin, sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)):
    the logarithms of the three factors neither cancel nor overflow, so no approximation for small bins is needed.
    """
    precision = torch.exp(-log_scale)
    bin_width = width * precision
    a = distance * precision + 0.5 * bin_width
    below = F.logsigmoid(a).masked_fill(high, 0.0)
    above = F.logsigmoid(bin_width - a).masked_fill(low, 0.0)
    inside = torch.log(-torch.expm1(-bin_width)).masked_fill(low | high, 0.0)
    return below + above + inside


def _exact_softmax(logits: Tensor, temperature: Tensor) -> Tensor:
    """Shares (B, T, K, W) of the components at a temperature (B,), summed in a fixed order."""
    scale = temperature.clamp(min=1e-6)[:, None, None, None]
    raised = exact_exp((logits - logits.amax(2, keepdim=True)) / scale)
    return raised / _added(raised.movedim(2, -1))[:, :, None]


def _added(x: Tensor) -> Tensor:
    """The sum over the last dimension, one after the other: its bits do not depend on the tensor's size."""
    total = x[..., 0]
    for k in range(1, x.shape[-1]):
        total = total + x[..., k]
    return total
