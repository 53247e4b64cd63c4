"""The selective scan of Mamba on CUDA: gates and states stay in registers, forward and back.

    h_t = exp(dt_t A) * h_{t-1} + dt_t x_t B_t    (B, N, E)
    y_t = C_t h_t                                 (B, E)

One program for a row and CHANNELS channels goes through the steps in order. The gradient goes through them once more
and keeps every state, then back. The reference is `vssm.baselines.mamba.scan`.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 32  # of a program, one warp


@triton.jit(do_not_specialize=["steps"])
def _forward(  # type: ignore[no-untyped-def]
    dt_ptr, a_ptr, b_ptr, c_ptr, x_ptr, start_ptr, y_ptr, last_ptr, kept_ptr, steps,
    E: tl.constexpr, N: tl.constexpr, NP: tl.constexpr, KEEP: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """dt, x, y (B, T, E), a (N, E), b, c (B, T, N), start, last (B, N, E), kept (B, T, N, E): the states before."""
    blocks: tl.constexpr = (E + CHANNELS - 1) // CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    e = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, NP)
    live, known = e < E, n < N
    both = known[:, None] & live[None, :]
    there = n[:, None] * E + e[None, :]
    a = tl.load(a_ptr + there, mask=both, other=0.0)
    h = tl.load(start_ptr + row * N * E + there, mask=both, other=0.0)
    for t in range(steps):
        at = row * steps + t
        dt = tl.load(dt_ptr + at * E + e, mask=live, other=0.0)
        x = tl.load(x_ptr + at * E + e, mask=live, other=0.0)
        b = tl.load(b_ptr + at * N + n, mask=known, other=0.0)
        c = tl.load(c_ptr + at * N + n, mask=known, other=0.0)
        if KEEP:
            tl.store(kept_ptr + at * N * E + there, h, mask=both)
        h = tl.exp(dt[None, :] * a) * h + (dt * x)[None, :] * b[:, None]
        if not KEEP:
            tl.store(y_ptr + at * E + e, tl.sum(h * c[:, None], 0), mask=live)
    tl.store(last_ptr + row * N * E + there, h, mask=both)


@triton.jit(do_not_specialize=["rows", "steps"])
def _backward(  # type: ignore[no-untyped-def]
    dt_ptr, a_ptr, b_ptr, c_ptr, x_ptr, kept_ptr, gy_ptr, glast_ptr,
    gdt_ptr, ga_ptr, gb_ptr, gc_ptr, gx_ptr, gstart_ptr, rows, steps,
    E: tl.constexpr, N: tl.constexpr, NP: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """As above; gb, gc (blocks, B, T, N) and ga (B, N, E) are parts of sums."""
    blocks: tl.constexpr = (E + CHANNELS - 1) // CHANNELS
    row = (tl.program_id(0) // blocks).to(tl.int64)
    block = (tl.program_id(0) % blocks).to(tl.int64)
    e = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, NP)
    live, known = e < E, n < N
    both = known[:, None] & live[None, :]
    there = n[:, None] * E + e[None, :]
    a = tl.load(a_ptr + there, mask=both, other=0.0)
    g = tl.load(glast_ptr + row * N * E + there, mask=both, other=0.0)
    ga = tl.zeros((NP, CHANNELS), tl.float32)
    for done in range(steps):
        at = row * steps + (steps - 1 - done)
        dt = tl.load(dt_ptr + at * E + e, mask=live, other=0.0)
        x = tl.load(x_ptr + at * E + e, mask=live, other=0.0)
        gy = tl.load(gy_ptr + at * E + e, mask=live, other=0.0)
        b = tl.load(b_ptr + at * N + n, mask=known, other=0.0)
        c = tl.load(c_ptr + at * N + n, mask=known, other=0.0)
        before = tl.load(kept_ptr + at * N * E + there, mask=both, other=0.0)
        gate = tl.exp(dt[None, :] * a)
        h = gate * before + (dt * x)[None, :] * b[:, None]
        part = (block * rows + row) * steps + (steps - 1 - done)
        tl.store(gc_ptr + part * N + n, tl.sum(h * gy[None, :], 1), mask=known)
        g += gy[None, :] * c[:, None]
        tl.store(gb_ptr + part * N + n, tl.sum(g * (dt * x)[None, :], 1), mask=known)
        driven = tl.sum(g * b[:, None], 0)
        slope = g * before * gate
        tl.store(gx_ptr + at * E + e, driven * dt, mask=live)
        tl.store(gdt_ptr + at * E + e, driven * x + tl.sum(slope * a, 0), mask=live)
        ga += slope * dt[None, :]
        g = g * gate
    tl.store(ga_ptr + row * N * E + there, ga, mask=both)
    tl.store(gstart_ptr + row * N * E + there, g, mask=both)


def selective_scan(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """dt, x (B, T, E), A (N, E), B, C (B, T, N), h (B, N, E), float32 -> y (B, T, E), the last h.

    Differentiable.
    """
    y, last = _Scan.apply(dt, A, B, C, x, h)  # type: ignore[no-untyped-call]
    return y, last


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        dt, A, B, C, x, h = (tensor.contiguous() for tensor in given)
        y, last = torch.empty_like(x), torch.empty_like(h)
        _forward[_grid(x)](dt, A, B, C, x, h, y, last, y, x.shape[1], *_sizes(A), False, CHANNELS, num_warps=1)
        ctx.save_for_backward(dt, A, B, C, x, h)
        return y, last

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor, ...]:
        dt, A, B, C, x, h = ctx.saved_tensors
        rows, steps, channels = x.shape
        kept, last = x.new_empty(rows, steps, *A.shape), torch.empty_like(h)
        _forward[_grid(x)](dt, A, B, C, x, h, x, last, kept, steps, *_sizes(A), True, CHANNELS, num_warps=1)
        parts = (triton.cdiv(channels, CHANNELS), *B.shape)
        grad_b, grad_c = x.new_empty(parts), x.new_empty(parts)
        grad_dt, grad_x, grad_h, grad_a = (torch.empty_like(t) for t in (dt, x, h, h))
        _backward[_grid(x)](
            dt, A, B, C, x, kept, grad_y.contiguous(), grad_last.contiguous(),
            grad_dt, grad_a, grad_b, grad_c, grad_x, grad_h, rows, steps, *_sizes(A), CHANNELS, num_warps=1,
        )  # fmt: skip
        return grad_dt, grad_a.sum(0), grad_b.sum(0), grad_c.sum(0), grad_x, grad_h


def _grid(x: Tensor) -> tuple[int]:
    return (x.shape[0] * triton.cdiv(x.shape[2], CHANNELS),)


def _sizes(A: Tensor) -> tuple[int, int, int]:
    """Channels, states, and states as a power of two."""
    return A.shape[1], A.shape[0], triton.next_power_of_2(A.shape[0])
