"""Counter-based noise: every random number is a pure function of (seed, sample, position, purpose).

This module knows nothing about models or batches. Whoever asks for the noise of one step of one sample gets
the same bits, wherever that step stands in a batch, a chunk, a process or a machine.

    words    Philox 4x32, 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
    normal   inverse distribution function, algorithm AS 241 (Wichura, 1988)
    logistic log(u / (1 - u))
    gumbel   -log(-log(u))

Three implementations give the same bits. The torch one runs on any device and is the reference; the compiled one
is used on the CPU, `vssm.cuda.noise` on CUDA. All use only operations that IEEE 754 rounds exactly (+ - * / sqrt, in
float64, never contracted to fused multiply-adds), which is why bits do not depend on vector width, thread or device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numba
import numpy as np
import torch
from torch import Tensor

MAX_SEED = 2**63 - 1
MAX_POSITION = 2**48
MAX_SAMPLES = 2**32

Kind = Literal["word", "normal", "logistic", "gumbel"]
_KINDS: dict[Kind, int] = {"word": 0, "normal": 1, "logistic": 2, "gumbel": 3}


class Purpose(IntEnum):
    """What a random number is for; level k of the latents adds k to PRIOR or POSTERIOR."""

    OBSERVATION = 0
    PRIOR = 16
    POSTERIOR = 32


@dataclass(frozen=True)
class Counters:
    """Which steps a batch of rows is about to take; one entry a row, int64 tensors of shape (rows,)."""

    seed: Tensor
    sample: Tensor
    position: Tensor

    def draw(self, kind: Kind, purpose: int, steps: int, width: int) -> Tensor:
        """Noise of `steps` steps from each row's position on: float32 (rows, steps, width); int64 for "word"."""
        if self.seed.device.type == "cpu":
            return _draw_compiled(self, kind, purpose, steps, width)
        if self.seed.device.type == "cuda":
            from vssm.cuda.noise import draw  # needs Triton, which the CPU does not

            return draw(self, kind, purpose, steps, width)
        return draw_reference(self, kind, purpose, steps, width)


# -- the reference: torch operations, any device ----------------------------------------------------------------

_MASK = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Philox 4x32-10 on int64 tensors that hold 32-bit words; the products wrap, their bits do not."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def draw_reference(counters: Counters, kind: Kind, purpose: int, steps: int, width: int) -> Tensor:
    """`Counters.draw` in plain torch operations, on the device of the counters."""
    device = counters.seed.device
    blocks = -(-width // 4)
    position = counters.position[:, None, None] + torch.arange(steps, device=device)[None, :, None]
    block = torch.arange(blocks, device=device)[None, None, :]
    shape = (position.shape[0], steps, blocks)
    c0 = (position & _MASK).expand(shape)
    c1 = ((position >> 32) << 16) + block
    c2 = counters.sample[:, None, None].expand(shape)
    c3 = torch.full(shape, purpose, dtype=torch.int64, device=device)
    k0 = (counters.seed & _MASK)[:, None, None].expand(shape)
    k1 = ((counters.seed >> 32) & _MASK)[:, None, None].expand(shape)
    words = torch.stack(philox((c0, c1, c2, c3), (k0, k1)), dim=-1).flatten(2)[..., :width]  # (R, T, width)
    if kind == "word":
        return words
    u = (words.double() + 0.5) * 2.0**-32
    transform = {"normal": normal_quantile, "logistic": _logistic, "gumbel": _gumbel}[kind]
    return transform(u).float()


def exact_log(x: Tensor) -> Tensor:
    """log of positive normal float64 numbers from exactly rounded operations; relative error below 1e-15."""
    mantissa, exponent = torch.frexp(x)
    small = mantissa < _SQRT_HALF
    mantissa = torch.where(small, mantissa * 2.0, mantissa)
    power = exponent.double() - small.double()
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return power * _LN2 + 2.0 * (s * _horner(s * s, _ATANH))


def normal_quantile(u: Tensor) -> Tensor:
    """Inverse of the standard normal distribution function for u in [2^-33, 1 - 2^-33], float64."""
    q = u - 0.5
    r = 0.180625 - q * q
    centre = q * _horner(r, _A) / _horner(r, _B)
    tail_u = torch.where(q < 0, u, 1.0 - u)
    t = torch.sqrt(-exact_log(tail_u)) - 1.6
    tail = _horner(t, _C) / _horner(t, _D)
    return torch.where(q.abs() <= 0.425, centre, torch.where(q < 0, -tail, tail))


def _logistic(u: Tensor) -> Tensor:
    return exact_log(u) - exact_log(1.0 - u)


def _gumbel(u: Tensor) -> Tensor:
    return -exact_log(-exact_log(u))


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


_LN2 = math.log(2.0)
_SQRT_HALF = math.sqrt(0.5)
_ATANH = tuple(1.0 / (2 * k + 1) for k in range(11))
# AS 241, PPND16: central region and the tail up to |z| = 6.6; 32-bit words reach 6.2.
_A = (
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
)  # fmt: skip
_B = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
)  # fmt: skip
_C = (
    1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
    1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
)  # fmt: skip
_D = (
    1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
)  # fmt: skip


# -- the compiled path: the same arithmetic in one loop, CPU ----------------------------------------------------


def _draw_compiled(counters: Counters, kind: Kind, purpose: int, steps: int, width: int) -> Tensor:
    rows = counters.seed.shape[0]
    words = np.empty((rows, steps, width), np.uint32)
    seed, sample, position = (t.numpy() for t in (counters.seed, counters.sample, counters.position))
    _fill_words(seed, sample, position, purpose, words)
    if kind == "word":
        return torch.from_numpy(words.astype(np.int64))
    values = np.empty((rows, steps, width), np.float32)
    _transform(words.reshape(-1), _KINDS[kind], values.reshape(-1))
    return torch.from_numpy(values)


@numba.njit(cache=True, nogil=True)
def _fill_words(seed, sample, position, purpose, words):  # type: ignore[no-untyped-def]
    rows, steps, width = words.shape
    mask = np.uint64(_MASK)
    s32 = np.uint64(32)
    m0, m1 = np.uint64(_M0), np.uint64(_M1)
    for r in range(rows):
        for t in range(steps):
            p = np.uint64(position[r] + t)
            for block in range((width + 3) // 4):
                c0 = p & mask
                c1 = (((p >> s32) << np.uint64(16)) + np.uint64(block)) & mask
                c2 = np.uint64(sample[r]) & mask
                c3 = np.uint64(purpose)
                k0 = np.uint64(seed[r]) & mask
                k1 = (np.uint64(seed[r]) >> s32) & mask
                for _ in range(10):
                    p0 = c0 * m0
                    p1 = c2 * m1
                    c0, c1, c2, c3 = (p1 >> s32) ^ c1 ^ k0, p1 & mask, (p0 >> s32) ^ c3 ^ k1, p0 & mask
                    k0 = (k0 + np.uint64(_W0)) & mask
                    k1 = (k1 + np.uint64(_W1)) & mask
                base = 4 * block
                words[r, t, base] = c0
                if base + 1 < width:
                    words[r, t, base + 1] = c1
                if base + 2 < width:
                    words[r, t, base + 2] = c2
                if base + 3 < width:
                    words[r, t, base + 3] = c3


@numba.njit(cache=True, nogil=True)
def _log(x):  # type: ignore[no-untyped-def]
    mantissa, exponent = math.frexp(x)
    power = float(exponent)
    if mantissa < _SQRT_HALF:
        mantissa *= 2.0
        power -= 1.0
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return power * _LN2 + 2.0 * (s * _polynomial(s * s, _ATANH))


@numba.njit(cache=True, nogil=True)
def _polynomial(x, coefficients):  # type: ignore[no-untyped-def]
    total = coefficients[-1]
    for k in range(len(coefficients) - 2, -1, -1):
        total = total * x + coefficients[k]
    return total


@numba.njit(cache=True, nogil=True)
def _normal(u):  # type: ignore[no-untyped-def]
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _polynomial(r, _A) / _polynomial(r, _B)
    t = math.sqrt(-_log(u if q < 0 else 1.0 - u)) - 1.6
    tail = _polynomial(t, _C) / _polynomial(t, _D)
    return -tail if q < 0 else tail


@numba.njit(cache=True, nogil=True)
def _transform(words, kind, values):  # type: ignore[no-untyped-def]
    for i in range(words.shape[0]):
        u = (float(words[i]) + 0.5) * 2.0**-32
        if kind == 1:
            values[i] = _normal(u)
        elif kind == 2:
            values[i] = _log(u) - _log(1.0 - u)
        else:
            values[i] = -_log(-_log(u))
