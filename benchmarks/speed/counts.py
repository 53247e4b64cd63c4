"""Operations of matrix products and least bytes moved, counted by hand from a model's config.

    flops   2 for each weight that a step of one sequence is multiplied with; attention 2 for each product of numbers.
            Norms, gates, recurrences and random numbers are not counted, so no model reaches 1
    bytes   of float32 numbers read and written at least: weights once a pass (VSSM) or once a step (the rivals, whose
            steps wait for each other), features in and out of every layer, and what is kept of a sequence

VSSM         W width, 2N state, Z latents, P parameters of p(x)
Transformer  W width, H hidden
Mamba        W width, E inner, N states a channel, R rank, K convolution
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vssm.config import CategoricalLevel, ModelConfig
from vssm.observations import build_observation

_NUMBER = 4  # bytes of a float32


@dataclass(frozen=True)
class Cost:
    """Of some work: floating-point operations of matrix products, and bytes."""

    flops: float
    bytes: float


def cost(config: Any, samples: int, steps: int, first: int = 0) -> Cost:
    """Of `steps` generated steps of `samples` sequences from position `first` on."""
    match getattr(config, "family", "vssm"):
        case "transformer":
            return _transformer(config, samples, steps, first)
        case "mamba":
            return _mamba(config, samples, steps)
        case _:
            return _vssm(config, samples, steps)


def _head(config: Any, width: int, linear: bool = False) -> int:
    """Weights from features to the parameters of p(x_t): W x W and W x P, or W x P alone."""
    out = math.prod(build_observation(config.observation, config.size, 1, linear=True).params_shape)
    return width * out if linear else width * width + width * out


def vssm_weights(config: ModelConfig) -> int:
    """Weights that a generated step is multiplied with; the encoder has no part in it."""
    W, N = config.decoder.width, config.decoder.state
    mix = 0 if config.decoder.linear else 2 * W * W  # W -> 2W, of which one half gates the other
    layer = 2 * N * W + 2 * N * W + mix  # input W -> 2N (N complex numbers), output 2N -> W
    total = _head(config, W, config.decoder.linear)
    for k, level in enumerate(config.levels):
        one_hot = isinstance(level, CategoricalLevel)
        Z = level.groups * level.classes if isinstance(level, CategoricalLevel) else level.size
        prior = 0 if one_hot or k == 0 else W * (W // 2) + (W // 2) * 2 * Z  # means and scales from W / 2
        total += prior + Z * W + level.layers * layer  # inject Z -> W
    return total


def _vssm(config: ModelConfig, samples: int, steps: int) -> Cost:
    weights, W, N = vssm_weights(config), config.decoder.width, config.decoder.state
    layers = sum(level.layers for level in config.levels)
    each_step = 2 * W * (layers + len(config.levels) + 1)  # in and out of every layer, inject and head
    each_sequence = 2 * 2 * N * layers  # states before and after
    numbers = weights + samples * (steps * each_step + each_sequence)
    return Cost(2.0 * weights * samples * steps, float(_NUMBER * numbers))


def _transformer(config: Any, samples: int, steps: int, first: int) -> Cost:
    W, H, layers = config.width, config.hidden, config.layers
    layer = 3 * W * W + W * W + 2 * W * H + H * W  # q, k, v; out; up, twice for the gate; down
    weights = layers * layer + _head(config, W) + W * config.size  # embedding of the last values
    seen = steps * first + steps * (steps + 1) // 2  # keys that all steps look at: t + 1 at position t
    attention = layers * 2 * W * seen  # q times k, then weights times v
    flops = 2.0 * samples * (steps * weights + attention)
    each_step = 2 * W * (2 * layers + 2) + layers * 2 * W  # attention and MLP in and out; key and value written
    kept = layers * 2 * W * seen  # keys and values read
    return Cost(flops, float(_NUMBER * (steps * weights + samples * (steps * each_step + kept))))


def _mamba(config: Any, samples: int, steps: int) -> Cost:
    W, E, N, R, K, layers = config.width, config.inner, config.state, config.rank, config.conv, config.layers
    layer = W * 2 * E + E * (R + 2 * N) + R * E + E * W  # in (x and gate), x to dt, B, C; dt; out
    weights = layers * layer + _head(config, W) + W * config.size
    each_step = 2 * W * (layers + 2) + layers * 2 * (E * N + E * (K - 1))  # states and inputs read and written
    vectors = layers * (E * N + E * K)  # A and the convolution, read like weights
    numbers = steps * (weights + vectors + samples * each_step)
    return Cost(2.0 * weights * samples * steps, float(_NUMBER * numbers))
