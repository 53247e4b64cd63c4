"""Counter-based noise in one loop on the CPU: the same arithmetic, so the same bits, as `vssm.noise.draw_reference`.

Numbers are made 256 at a time in a buffer that stays in the nearest cache; all loops over it are SIMD but the
tails of the normal distribution.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor

from vssm.noise import (
    AS241_A,
    AS241_B,
    AS241_C,
    AS241_D,
    ATANH,
    LN2,
    M0,
    M1,
    MASK,
    SQRT_HALF,
    W0,
    W1,
    Counters,
    Kind,
)
from vssm.parallel import over_threads

_KINDS: dict[Kind, int] = {"word": 0, "normal": 1, "logistic": 2, "gumbel": 3}
_BLOCKS = 64  # Philox blocks at a time, of four numbers each
_NUMBERS_WORTH_A_THREAD = 4096


def draw(counters: Counters, kind: Kind, purpose: int, steps: int, width: int) -> Tensor:
    """`Counters.draw` on the CPU: float32 (rows, steps, width); int64 for "word"."""
    rows = counters.seed.shape[0]
    values = np.empty((rows, steps, width), np.float64 if kind == "word" else np.float32)
    given = (counters.seed.numpy(), counters.sample.numpy(), counters.position.numpy())
    over_threads(
        rows * steps,
        values.size // _NUMBERS_WORTH_A_THREAD,
        1,
        _draw,
        *given,
        int(purpose),
        steps,
        _KINDS[kind],
        values,
    )
    drawn = torch.from_numpy(values)
    return drawn.to(torch.int64) if kind == "word" else drawn


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw(first, last, seed, sample, position, purpose, steps, kind, values):  # type: ignore[no-untyped-def]
    """Steps `first` to `last` of values (rows, steps, width), counted over all rows."""
    width = values.shape[2]
    blocks = (width + 3) // 4
    counters = np.empty((6, _BLOCKS), np.uint64)  # four counter words, two key words
    numbers, other = np.empty((4, _BLOCKS), np.float64), np.empty((4, _BLOCKS), np.float64)
    total = (last - first) * blocks
    for start in range(0, total, _BLOCKS):
        count = min(_BLOCKS, total - start)
        for i in range(count):
            flat, block = divmod(start + i, blocks)
            sequence, step = divmod(first + flat, steps)
            at = np.uint64(position[sequence] + step)
            key = np.uint64(seed[sequence])
            counters[0, i] = at & np.uint64(MASK)
            counters[1, i] = (((at >> np.uint64(32)) << np.uint64(16)) + np.uint64(block)) & np.uint64(MASK)
            counters[2, i] = np.uint64(sample[sequence]) & np.uint64(MASK)
            counters[3, i] = np.uint64(purpose) + ((np.uint64(sample[sequence]) >> np.uint64(32)) << np.uint64(8))
            counters[4, i] = key & np.uint64(MASK)
            counters[5, i] = (key >> np.uint64(32)) & np.uint64(MASK)
        _words(counters, numbers)
        if kind != 0:
            for j in range(4):
                for i in range(_BLOCKS):
                    numbers[j, i] = (numbers[j, i] + 0.5) * 2.0**-32
            for j in range(4):
                _transform(kind, numbers[j], other[j])
        for i in range(count):
            flat, block = divmod(start + i, blocks)
            sequence, step = divmod(first + flat, steps)
            result = values[sequence, step]
            for j in range(min(4, width - 4 * block)):
                result[4 * block + j] = numbers[j, i]


@numba.njit(cache=True, nogil=True)
def _words(counters, words):  # type: ignore[no-untyped-def]
    """Philox 4x32-10; the products are of 32-bit words, so they fit."""
    mask, half = np.uint64(MASK), np.uint64(32)
    m0, m1, w0, w1 = np.uint64(M0), np.uint64(M1), np.uint64(W0), np.uint64(W1)
    for i in range(_BLOCKS):
        c0, c1, c2, c3 = counters[0, i], counters[1, i], counters[2, i], counters[3, i]
        k0, k1 = counters[4, i], counters[5, i]
        for _ in range(10):
            p0, p1 = (c0 & mask) * m0, (c2 & mask) * m1
            c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & mask, (p0 >> half) ^ c3 ^ k1, p0 & mask
            k0, k1 = (k0 + w0) & mask, (k1 + w1) & mask
        words[0, i], words[1, i], words[2, i], words[3, i] = c0, c1, c2, c3


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _transform(kind, u, other):  # type: ignore[no-untyped-def]
    """Uniform numbers into normal (1), logistic (2) or Gumbel (3) ones, in place; `other` is scratch."""
    if kind == 1:
        for i in range(_BLOCKS):
            q = u[i] - 0.5
            r = 0.180625 - q * q
            other[i] = q * polynomial(r, AS241_A) / polynomial(r, AS241_B)
        for i in range(_BLOCKS):
            q = u[i] - 0.5
            u[i] = other[i] if abs(q) <= 0.425 else _tail(u[i], q)
    elif kind == 2:
        for i in range(_BLOCKS):
            u[i] = log_positive(u[i]) - log_positive(1.0 - u[i])
    else:
        for i in range(_BLOCKS):
            u[i] = -log_positive(-log_positive(u[i]))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tail(u, q):  # type: ignore[no-untyped-def]
    t = math.sqrt(-log_positive(u if q < 0 else 1.0 - u)) - 1.6
    tail = polynomial(t, AS241_C) / polynomial(t, AS241_D)
    return -tail if q < 0 else tail


@numba.njit(cache=True, nogil=True, error_model="numpy")
def log_positive(x):  # type: ignore[no-untyped-def]
    """`vssm.noise.exact_log`; exponent and mantissa taken from the bits, since x is a positive normal number."""
    bits = np.float64(x).view(np.int64)
    mantissa = np.int64((bits & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000).view(np.float64)
    small = mantissa < SQRT_HALF
    mantissa = mantissa * 2.0 if small else mantissa
    power = np.float64(bits >> 52) - (1023.0 if small else 1022.0)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return power * LN2 + 2.0 * (s * polynomial(s * s, ATANH))


@numba.njit(cache=True, nogil=True)
def polynomial(x, coefficients):  # type: ignore[no-untyped-def]
    total = coefficients[-1]
    for k in range(len(coefficients) - 2, -1, -1):
        total = total * x + coefficients[k]
    return total
