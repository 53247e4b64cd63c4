"""Student's t from two uniform numbers, for any degrees of freedom and without rejection.

    t = sqrt(nu * (u^(-2 / nu) - 1)) * cos(2 pi v)

Source: Bailey, "Polar generation of random variates with the t-distribution", Mathematics of Computation 62, 1994.
In float64 from operations that IEEE 754 rounds exactly, so that bits depend on u, v and nu only: the compiled loop is
used on the CPU, the torch operations elsewhere and as the reference.
"""

from __future__ import annotations

import math

import numba
import torch
from torch import Tensor

from vssm.compiled.noise import log_positive, polynomial
from vssm.noise import LN2, exact_log
from vssm.parallel import array, over_rows

_TAU = 2.0 * math.pi
_COS = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(10))  # up to pi/4: 1e-19 is left out
_SIN = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(10))
_EXPM1 = tuple(1.0 / math.factorial(k + 1) for k in range(17))  # up to ln 2 / 2: 1e-22 is left out


def student_noise(words: Tensor, freedom: Tensor) -> Tensor:
    """Standard t variates float32 (B, T, size) from words int64 (B, T, 2 * size), nu (size,): u first, then v."""
    if words.device.type != "cpu":
        return student_noise_reference(words, freedom)
    size = len(freedom)
    out = torch.empty(*words.shape[:-1], size)
    nu = array(freedom.double())
    over_rows(_student, [nu, array(words).reshape(-1, 2 * size), out.numpy().reshape(-1, size)], shared=1)
    return out


def student_noise_reference(words: Tensor, freedom: Tensor) -> Tensor:
    """`student_noise` in torch operations, on any device."""
    u, v = ((words.double() + 0.5) * 2.0**-32).chunk(2, dim=-1)
    nu = freedom.detach().double()
    return (torch.sqrt(nu * _expm1_reference(-2.0 * exact_log(u) / nu)) * _cosine_reference(v)).float()


def _expm1_reference(t: Tensor) -> Tensor:
    power = torch.floor(t * (1.0 / LN2) + 0.5)
    rest = t - power * LN2
    scale = ((power.to(torch.int64) + 1023) << 52).view(torch.float64)
    return scale * (rest * _horner(rest, _EXPM1)) + (scale - 1.0)


def _cosine_reference(v: Tensor) -> Tensor:
    """cos(2 pi v) for v in (0, 1): quarters are taken off exactly."""
    quarter = torch.floor(4.0 * v + 0.5)
    angle = (v - 0.25 * quarter) * _TAU
    square = angle * angle
    even = torch.remainder(quarter, 2.0) == 0.0
    value = torch.where(even, _horner(square, _COS), angle * _horner(square, _SIN))
    return torch.where((quarter == 1.0) | (quarter == 2.0), -value, value)


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _student(freedom, words, out):  # type: ignore[no-untyped-def]
    rows, size = out.shape
    for r in range(rows):
        for i in range(size):
            u = (words[r, i] + 0.5) * 2.0**-32
            v = (words[r, size + i] + 0.5) * 2.0**-32
            nu = freedom[i]
            out[r, i] = math.sqrt(nu * _expm1(-2.0 * log_positive(u) / nu)) * _cosine(v)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _expm1(t):  # type: ignore[no-untyped-def]
    power = math.floor(t * (1.0 / LN2) + 0.5)
    rest = t - power * LN2
    scale = 2.0**power
    return scale * (rest * polynomial(rest, _EXPM1)) + (scale - 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cosine(v):  # type: ignore[no-untyped-def]
    quarter = math.floor(4.0 * v + 0.5)
    angle = (v - 0.25 * quarter) * _TAU
    square = angle * angle
    value = polynomial(square, _COS) if quarter % 2 == 0 else angle * polynomial(square, _SIN)
    return -value if quarter == 1 or quarter == 2 else value
