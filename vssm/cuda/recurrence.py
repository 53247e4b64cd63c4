"""The linear recurrence on CUDA: one program for a row and a block of channels, one step after another.

    h_t = a_t * h_{t-1} + b_t        a (N,) or (B, T, N), b and h (B, T, N), real or complex

The order of operations is that of the compiled CPU kernel and nothing is fused into multiply-adds, so both give the
same bits, wherever a sequence is cut and whoever shares the batch. While STEPS steps are computed, the next ones are
on their way from memory: loads do not wait for h. A step costs about 15 cycles then.

There is no second kernel that cuts time into chunks for one long sequence. At 15 cycles a step and 1.7 GHz, 16,384
steps take 0.15 ms a layer, 9 ns a step, where a rival's step takes tens of microseconds; chunks would round otherwise
than steps do, and a state within a chunk would have to carry the chunk's beginning.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

STEPS = 16  # loaded ahead: 2 * 16 steps of 32 channels are under way, about 8 KB a warp
BLOCK = 32  # channels a program, one warp


@triton.jit
def _there(n, yes, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mask of the channels n, all off unless the scalar `yes` (the interpreter cannot join a mask with a scalar)."""
    return n < tl.where(yes, CHANNELS, 0)


@triton.jit
def _ahead(ptr, at, n, left, CHANNELS: tl.constexpr, STRIDE: tl.constexpr, STEPS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The values from `at` on of the next STEPS steps; zeros behind the `left` that there are."""
    values = ()
    for i in tl.static_range(STEPS):
        values = values + (tl.load(ptr + at + i * STRIDE, mask=_there(n, i < left, CHANNELS), other=0),)  # type: ignore[assignment]  # noqa: RUF005
    return values


@triton.jit
def _unpack(pair):  # type: ignore[no-untyped-def]
    """complex64 as int64 -> real and imaginary part: one access of eight bytes instead of two of four."""
    re = pair.to(tl.int32).to(tl.float32, bitcast=True)
    im = (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return re, im


@triton.jit
def _pack(re, im):  # type: ignore[no-untyped-def]
    low = re.to(tl.uint32, bitcast=True).to(tl.int64)
    return (im.to(tl.uint32, bitcast=True).to(tl.int64) << 32) | low


@triton.jit(do_not_specialize=["steps"])
def _real(  # type: ignore[no-untyped-def]
    a_ptr, b_ptr, h0_ptr, h_ptr, steps,
    CHANNELS: tl.constexpr, GATED: tl.constexpr, REVERSE: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """float32 a, b, h."""
    blocks: tl.constexpr = (CHANNELS + BLOCK - 1) // BLOCK
    stride: tl.constexpr = -CHANNELS if REVERSE else CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    n = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    mask = n < CHANNELS
    first = row * steps
    if REVERSE:
        first += steps - 1
    at = first * CHANNELS + n
    h = tl.load(h0_ptr + row * CHANNELS + n, mask=mask, other=0.0)
    gates = _ahead(a_ptr, at, n, steps, CHANNELS, stride, STEPS) if GATED else tl.load(a_ptr + n, mask=mask, other=0.0)
    inputs = _ahead(b_ptr, at, n, steps, CHANNELS, stride, STEPS)
    for done in range(0, steps, STEPS):
        left = steps - done
        later = at + STEPS * stride
        next_gates = _ahead(a_ptr, later, n, left - STEPS, CHANNELS, stride, STEPS) if GATED else gates
        next_inputs = _ahead(b_ptr, later, n, left - STEPS, CHANNELS, stride, STEPS)
        for i in tl.static_range(STEPS):
            h = (gates[i] if GATED else gates) * h + inputs[i]
            tl.store(h_ptr + at + i * stride, h, mask=_there(n, i < left, CHANNELS))
        gates, inputs, at = next_gates, next_inputs, later


@triton.jit(do_not_specialize=["steps"])
def _complex(  # type: ignore[no-untyped-def]
    a_ptr, b_ptr, h0_ptr, h_ptr, steps,
    CHANNELS: tl.constexpr, GATED: tl.constexpr, REVERSE: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """complex64 a, b, h, each number an int64."""
    blocks: tl.constexpr = (CHANNELS + BLOCK - 1) // BLOCK
    stride: tl.constexpr = -CHANNELS if REVERSE else CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    n = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    mask = n < CHANNELS
    first = row * steps
    if REVERSE:
        first += steps - 1
    at = first * CHANNELS + n
    re, im = _unpack(tl.load(h0_ptr + row * CHANNELS + n, mask=mask, other=0))
    gates = _ahead(a_ptr, at, n, steps, CHANNELS, stride, STEPS) if GATED else tl.load(a_ptr + n, mask=mask, other=0)
    inputs = _ahead(b_ptr, at, n, steps, CHANNELS, stride, STEPS)
    for done in range(0, steps, STEPS):
        left = steps - done
        later = at + STEPS * stride
        next_gates = _ahead(a_ptr, later, n, left - STEPS, CHANNELS, stride, STEPS) if GATED else gates
        next_inputs = _ahead(b_ptr, later, n, left - STEPS, CHANNELS, stride, STEPS)
        for i in tl.static_range(STEPS):
            a_re, a_im = _unpack(gates[i] if GATED else gates)
            x_re, x_im = _unpack(inputs[i])
            now = a_re * re - a_im * im + x_re
            im = a_re * im + a_im * re + x_im
            re = now
            tl.store(h_ptr + at + i * stride, _pack(re, im), mask=_there(n, i < left, CHANNELS))
        gates, inputs, at = next_gates, next_inputs, later


@triton.jit(do_not_specialize=["steps", "state_stride", "end_stride"])
def _planar(  # type: ignore[no-untyped-def]
    a_ptr, u_ptr, state_ptr, last_ptr, h_ptr, end_ptr, steps, state_stride, end_stride,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """u, h (B, T, 2N): first all real parts, then all imaginary ones, in any float type; a and states interleaved."""
    blocks: tl.constexpr = (CHANNELS + BLOCK - 1) // BLOCK
    stride: tl.constexpr = 2 * CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    n = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    mask = n < CHANNELS
    last = tl.load(last_ptr + row)
    a_re = tl.load(a_ptr + 2 * n, mask=mask, other=0.0)
    a_im = tl.load(a_ptr + 2 * n + 1, mask=mask, other=0.0)
    re = tl.load(state_ptr + row * state_stride + 2 * n, mask=mask, other=0.0)
    im = tl.load(state_ptr + row * state_stride + 2 * n + 1, mask=mask, other=0.0)
    end = end_ptr + row * end_stride + 2 * n
    at = row * steps * stride + n
    x_re = _ahead(u_ptr, at, n, steps, CHANNELS, stride, STEPS)
    x_im = _ahead(u_ptr, at + CHANNELS, n, steps, CHANNELS, stride, STEPS)
    for done in range(0, steps, STEPS):
        left = steps - done
        later = at + STEPS * stride
        next_re = _ahead(u_ptr, later, n, left - STEPS, CHANNELS, stride, STEPS)
        next_im = _ahead(u_ptr, later + CHANNELS, n, left - STEPS, CHANNELS, stride, STEPS)
        for i in tl.static_range(STEPS):
            now = a_re * re - a_im * im + x_re[i].to(tl.float32)
            im = a_re * im + a_im * re + x_im[i].to(tl.float32)
            re = now
            live, ends = _there(n, i < left, CHANNELS), _there(n, done + i == last, CHANNELS)
            there = h_ptr + at + i * stride
            tl.store(there, re.to(h_ptr.dtype.element_ty), mask=live)
            tl.store(there + CHANNELS, im.to(h_ptr.dtype.element_ty), mask=live)
            tl.store(end, re, mask=ends)
            tl.store(end + 1, im, mask=ends)
        x_re, x_im, at = next_re, next_im, later


def recurrence(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """All states h (B, T, N), T > 0; a (N,) or (B, T, N); all float32 or all complex64; differentiable."""
    h: Tensor = _Recurrence.apply(a, b, h0)  # type: ignore[no-untyped-call]
    return h


class _Recurrence(torch.autograd.Function):
    """The gradient runs the same recurrence back in time; the sums of the gates' gradient are torch's."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        h = _run(a, b, h0, reverse=False)
        ctx.save_for_backward(a, h0, h)
        return h

    @staticmethod
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, h0, h = ctx.saved_tensors
        fixed, before = a.dim() == 1, torch.cat([h0[:, None], h[:, :-1]], dim=1)
        later = a if fixed else torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
        g = _run(later.conj(), grad_h, torch.zeros_like(h0), reverse=True)
        slope = g * before.conj()
        gate = a if fixed else a[:, 0]
        return slope.sum((0, 1)) if fixed else slope, g, gate.conj() * g[:, 0]


def _run(a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> Tensor:
    a, b, h0 = (t.detach().resolve_conj().contiguous() for t in (a, b, h0))
    h = torch.empty_like(b)
    rows, steps, channels = b.shape
    kernel, tensors = (_complex, [_words(t) for t in (a, b, h0, h)]) if b.is_complex() else (_real, [a, b, h0, h])
    grid = (rows * triton.cdiv(channels, BLOCK),)
    kernel[grid](*tensors, steps, channels, a.dim() > 1, reverse, BLOCK, STEPS, num_warps=1, enable_fp_fusion=False)
    return h


def _words(x: Tensor) -> Tensor:
    """complex64 (..., N) as int64 (..., N), the same memory."""
    return torch.view_as_real(x).view(torch.int64)[..., 0]


def planar_recurrence(
    a: Tensor, u: Tensor, state: Tensor, last: Tensor, end: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """All states (B, T, 2N) of `dtype`, real parts first, of inputs u (B, T, 2N) laid out alike; no gradient.

    a (N,) complex64. `state` (B, 2N) float32, interleaved, is the one before; the one after step `last` (B,) of each
    row is written into `end` (B, 2N). Both may be strided over rows. h is float32 inside, whatever `dtype` is.
    """
    rows, steps, width = u.shape
    h = torch.empty_like(u, dtype=dtype)
    grid = (rows * triton.cdiv(width // 2, BLOCK),)
    _planar[grid](
        torch.view_as_real(a), u, state, last, h, end, steps, state.stride(0), end.stride(0), width // 2, BLOCK, STEPS,
        num_warps=1, enable_fp_fusion=False,
    )  # fmt: skip
    return h
