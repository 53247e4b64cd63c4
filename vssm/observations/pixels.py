"""Drawing the pixels of a step from left to right: `params` and `noise` of `LogisticMixtureObservation` -> levels.

The compiled loop is used on the CPU, torch operations elsewhere and as the reference; both give the same bits, since
every operation is one that IEEE 754 rounds exactly, in the same order, in float32 (exp by way of float64).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor

from vssm.compiled.exact import limited_exp
from vssm.exact import exact_exp
from vssm.parallel import array, over_threads

LOG_SCALE_LIMIT = 8.0
_ROWS_WORTH_A_THREAD = 128


@dataclass(frozen=True)
class Shape:
    """K components, C channels and L levels; whether a pixel depends on the one before."""

    components: int
    channels: int
    levels: int
    context: bool

    @property
    def links(self) -> int:
        """Between channels of one pixel, for each component."""
        return self.channels * (self.channels - 1) // 2

    @property
    def rows_of_each(self) -> int:
        """Numbers that describe a component of a pixel."""
        return 1 + 2 * self.channels + self.links

    @property
    def rows(self) -> int:
        """Numbers that describe a pixel."""
        return self.components * self.rows_of_each + (self.channels**2 if self.context else 0)

    @property
    def bin(self) -> float:
        """Width of a level on the scale from -1 to 1."""
        return 2.0 / (self.levels - 1)


def scaled(x: Tensor, levels: int) -> Tensor:
    """Levels 0..levels-1, as floating point, to [-1, 1]."""
    return x * (2.0 / (levels - 1)) - 1.0


def draw_pixels(params: Tensor, noise: Tensor, shape: Shape) -> Tensor:
    """Levels uint8 (B, T, W * C) from params (B, T, P, W) and scaled noise (B, T, W * K + W * C)."""
    if torch.compiler.is_compiling():
        sizes = shape.components, shape.channels, shape.levels, shape.context
        drawn: Tensor = _opaque(params, noise, *sizes)
        return drawn
    if params.device.type == "cpu" and params.dtype == torch.float32:
        return _draw_compiled(params, noise, shape)
    return draw_pixels_reference(params, noise, shape)


@torch.library.custom_op("vssm::draw_pixels", mutates_args=())
def _opaque(params: Tensor, noise: Tensor, components: int, channels: int, levels: int, context: bool) -> Tensor:
    """`draw_pixels` for `torch.compile`, which would take minutes over hundreds of dependent operations."""
    return draw_pixels(params, noise, Shape(components, channels, levels, context))


@_opaque.register_fake
def _(params: Tensor, noise: Tensor, components: int, channels: int, levels: int, context: bool) -> Tensor:
    return params.new_empty(*params.shape[:2], params.shape[-1] * channels, dtype=torch.uint8)


def _draw_compiled(params: Tensor, noise: Tensor, shape: Shape) -> Tensor:
    pixels = params.shape[-1]
    out = torch.empty(*params.shape[:2], pixels * shape.channels, dtype=torch.uint8)
    rows = params.shape[0] * params.shape[1]
    given = array(params).reshape(rows, -1, pixels), array(noise).reshape(rows, -1)
    sizes = shape.components, shape.channels, shape.levels, shape.context
    over_threads(rows, rows // _ROWS_WORTH_A_THREAD, 1, _draw, *given, *sizes, out.numpy().reshape(rows, -1))
    return out


def draw_pixels_reference(params: Tensor, noise: Tensor, shape: Shape) -> Tensor:
    """`draw_pixels` in torch operations: the components of all pixels at once, then pixel by pixel."""
    K, C, W = shape.components, shape.channels, params.shape[-1]
    gumbel, logistic = torch.split(noise, [W * K, W * C], dim=-1)
    chosen = _largest(params[:, :, :K] + torch.unflatten(gumbel, -1, (W, K)).transpose(-1, -2))  # (B, T, 1, W)
    picked = [params[:, :, row : row + K].gather(2, chosen)[:, :, 0] for row in range(K, K * shape.rows_of_each, K)]
    means, log_scales, links = picked[:C], picked[C : 2 * C], picked[2 * C :]
    scales = [exact_exp(s.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)) for s in log_scales]
    context = params[:, :, K * shape.rows_of_each :]
    levels: list[Tensor] = []
    before: list[Tensor] = []
    for i in range(W):
        pixel: list[Tensor] = []
        for c in range(C):
            mean = means[c][..., i]
            for j, x in enumerate(before if shape.context else ()):
                mean = mean + context[:, :, c * C + j, i] * x
            for j, x in enumerate(pixel):
                mean = mean + links[c - 1 + j][..., i] * x
            drawn = mean + scales[c][..., i] * logistic[..., i * C + c]
            levels.append(_level(drawn, shape.levels))
            pixel.append(scaled(levels[-1], shape.levels))
        before = pixel
    return torch.stack(levels, dim=-1).to(torch.uint8)


def _largest(x: Tensor) -> Tensor:
    """Index of the first largest of dimension 2, kept as dimension of size 1."""
    best, index = x[:, :, :1], torch.zeros_like(x[:, :, :1], dtype=torch.int64)
    for k in range(1, x.shape[2]):
        better = x[:, :, k : k + 1] > best
        best, index = torch.where(better, x[:, :, k : k + 1], best), torch.where(better, k, index)
    return index


def _level(drawn: Tensor, levels: int) -> Tensor:
    """The level in whose bin a number lies, still floating point; 0 for NaN, which a pass reports by itself."""
    level = torch.floor((drawn + 1.0) * (0.5 * (levels - 1)) + 0.5)
    return torch.where(level > 0, level.clamp(max=levels - 1), 0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(first, last, params, noise, K, C, levels, context, out):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of params (rows, P, W), noise (rows, W * K + W * C) and out (rows, W * C)."""
    for r in range(first, last):
        draw_step(params[r], noise[r], K, C, levels, context, out[r])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_step(p, noise, K, C, levels, context, out):  # type: ignore[no-untyped-def]
    """One step from p (P, W) and noise (W * K + W * C), into out (W * C)."""
    one, half = np.float32(1.0), np.float32(0.5)
    step, middle = np.float32(2.0 / (levels - 1)), np.float32(0.5 * (levels - 1))
    W = p.shape[1]
    at_scale = K + C * K
    at_link = at_scale + C * K
    at_context = at_link + K * (C * (C - 1) // 2)
    for i in range(W):
        chosen, best = 0, p[0, i] + noise[i * K]
        for k in range(1, K):
            value = p[k, i] + noise[i * K + k]
            if value > best:
                chosen, best = k, value
        for c in range(C):
            mean = p[K + c * K + chosen, i]
            if context and i > 0:
                for j in range(C):
                    mean += p[at_context + c * C + j, i] * (out[(i - 1) * C + j] * step - one)
            for j in range(c):
                mean += p[at_link + (c - 1 + j) * K + chosen, i] * (out[i * C + j] * step - one)
            scale = limited_exp(p[at_scale + c * K + chosen, i], LOG_SCALE_LIMIT)
            drawn = mean + scale * noise[W * K + i * C + c]
            level = np.floor((drawn + one) * middle + half)
            level = min(level, np.float32(levels - 1)) if level > 0 else np.float32(0.0)
            out[i * C + c] = np.uint8(level)
