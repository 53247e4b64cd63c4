"""`Counters.draw` on CUDA: counters in, noise out, one kernel. See `vssm.noise` for what the numbers are.

One lane makes the four words of one Philox block and what becomes of them. The transforms are float64 and nothing is
fused into multiply-adds, so the bits are those of `draw_reference`, on every device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from vssm import noise

if TYPE_CHECKING:
    from vssm.noise import Counters, Kind

BLOCK = 128  # Philox blocks a program

_A = tl.constexpr(noise.AS241_A)
_B = tl.constexpr(noise.AS241_B)
_C = tl.constexpr(noise.AS241_C)
_D = tl.constexpr(noise.AS241_D)
_ATANH = tl.constexpr(noise.ATANH)
_LN2 = tl.constexpr(noise.LN2)
_SQRT_HALF = tl.constexpr(noise.SQRT_HALF)


@triton.jit
def _philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Philox 4x32-10 on uint32."""
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(c0, 0xD2511F53), c0 * 0xD2511F53
        high1, low1 = tl.umulhi(c2, 0xCD9E8D57), c2 * 0xCD9E8D57
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = k0 + 0x9E3779B9
        k1 = k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def _horner(x, COEFFICIENTS: tl.constexpr, COUNT: tl.constexpr):  # type: ignore[no-untyped-def]
    total = x * 0.0 + COEFFICIENTS[COUNT - 1]
    for k in tl.static_range(COUNT - 2, -1, -1):
        total = total * x + COEFFICIENTS[k]
    return total


@triton.jit
def _log(x):  # type: ignore[no-untyped-def]
    """log of positive normal float64 numbers."""
    bits = x.to(tl.int64, bitcast=True)
    exponent = (bits >> 52) - 1022
    mantissa = ((bits & 0xFFFFFFFFFFFFF) | 0x3FE0000000000000).to(tl.float64, bitcast=True)  # in [1/2, 1)
    small = mantissa < _SQRT_HALF
    mantissa = tl.where(small, mantissa * 2.0, mantissa)
    power = exponent.to(tl.float64) - small.to(tl.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return power * _LN2 + 2.0 * (s * _horner(s * s, _ATANH, 11))


@triton.jit
def _normal(u):  # type: ignore[no-untyped-def]
    """Algorithm AS 241: both branches, then the one that holds."""
    q = u - 0.5
    r = 0.180625 - q * q
    centre = q * _horner(r, _A, 8) / _horner(r, _B, 8)
    t = tl.sqrt(-_log(tl.where(q < 0.0, u, 1.0 - u))) - 1.6
    tail = _horner(t, _C, 8) / _horner(t, _D, 8)
    return tl.where(tl.abs(q) <= 0.425, centre, tl.where(q < 0.0, -tail, tail))


@triton.jit
def _value(word, KIND: tl.constexpr):  # type: ignore[no-untyped-def]
    if KIND == "word":
        value = word.to(tl.int64)
    else:
        u = (word.to(tl.float64) + 0.5) * 2.3283064365386963e-10  # 2^-32
        if KIND == "normal":
            value = _normal(u).to(tl.float32)
        elif KIND == "logistic":
            value = (_log(u) - _log(1.0 - u)).to(tl.float32)
        else:
            value = (-_log(-_log(u))).to(tl.float32)
    return value


@triton.jit(do_not_specialize=["purpose", "steps"])
def _draw(  # type: ignore[no-untyped-def]
    seed_ptr, sample_ptr, position_ptr, out_ptr, purpose, steps,
    WIDTH: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks: tl.constexpr = (WIDTH + 3) // 4  # of a step
    programs = (steps * blocks + BLOCK - 1) // BLOCK  # of a row
    row = (tl.program_id(0) // programs).to(tl.int64)
    index = tl.program_id(0) % programs * BLOCK + tl.arange(0, BLOCK)
    step = index // blocks
    block = index % blocks
    seed = tl.load(seed_ptr + row)
    position = tl.load(position_ptr + row) + step
    c1 = ((position >> 32) << 16) + block
    sample = tl.load(sample_ptr + row) + step * 0
    c3 = purpose + ((sample >> 32) << 8)
    w0, w1, w2, w3 = _philox(
        position.to(tl.uint32), c1.to(tl.uint32), sample.to(tl.uint32), c3.to(tl.uint32),
        seed.to(tl.uint32), (seed >> 32).to(tl.uint32),
    )  # fmt: skip
    at = out_ptr + (row * steps + step) * WIDTH + 4 * block
    left = tl.where(step < steps, WIDTH - 4 * block, 0)
    tl.store(at, _value(w0, KIND), mask=left > 0)
    tl.store(at + 1, _value(w1, KIND), mask=left > 1)
    tl.store(at + 2, _value(w2, KIND), mask=left > 2)
    tl.store(at + 3, _value(w3, KIND), mask=left > 3)


def draw(counters: Counters, kind: Kind, purpose: int, steps: int, width: int) -> Tensor:
    """`Counters.draw`: float32 (rows, steps, width), int64 for "word"."""
    rows = counters.seed.shape[0]
    dtype = torch.int64 if kind == "word" else torch.float32
    out = torch.empty(rows, steps, width, dtype=dtype, device=counters.seed.device)
    if not out.numel():
        return out
    grid = (rows * triton.cdiv(steps * triton.cdiv(width, 4), BLOCK),)
    tensors = (t.contiguous() for t in (counters.seed, counters.sample, counters.position))
    _draw[grid](*tensors, out, int(purpose), steps, width, kind, BLOCK, num_warps=4, enable_fp_fusion=False)
    return out
