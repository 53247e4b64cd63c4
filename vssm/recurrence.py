"""The linear recurrence h_t = a_t * h_{t-1} + b_t: the only thing in a VSSM that goes across time.

    a   gate    (N,) time-invariant, or (B, T, N) per step; real or complex
    b   input   (B, T, N)
    h0  state before the first step (B, N), zeros when absent
    h   states  (B, T, N); the last one is the state to continue from

Sequential in time everywhere, so the values do not depend on where a sequence is cut. The compiled kernels
(CPU) use no fused multiply-adds and no reassociation; they run over rows in parallel and over channels in SIMD. On CUDA
`vssm.cuda.recurrence` does the same operations in the same order.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from vssm.parallel import array, over_rows


def linear_recurrence(a: Tensor, b: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """All states h (B, T, N) and the last one (B, N) of h_t = a_t * h_{t-1} + b_t; differentiable.

    `a` is (N,) or (B, T, N), and of one dtype with `b` (float32, float64, complex64 or complex128).
    With T = 0 the last state is `h0`. Raises ValueError for shapes or dtypes that do not fit.
    """
    h0 = _checked(a, b, h0)
    if b.shape[1] == 0 or b.shape[0] == 0:
        return b, h0
    h = _states(a, b, h0)
    return h, h[:, -1]


def _states(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    if b.device.type == "cpu":
        h: Tensor = _Compiled.apply(a, b, h0)  # type: ignore[no-untyped-call]
        return h
    if b.device.type == "cuda" and b.dtype in (torch.float32, torch.complex64):
        from vssm.cuda.recurrence import recurrence  # needs Triton, which the CPU does not

        return recurrence(a, b, h0)
    return _loop(a, b, h0)


def linear_recurrence_reference(a: Tensor, b: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The recurrence as its formula reads, one torch operation a step; any device, differentiable by torch."""
    h0 = _checked(a, b, h0)
    if b.shape[1] == 0:
        return b, h0
    h = _loop(a, b, h0)
    return h, h[:, -1]


def _loop(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    h, states = h0, []
    gates = repeat(a) if a.dim() == 1 else a.unbind(1)
    for gate, x in zip(gates, b.unbind(1), strict=False):  # unbind: the gradient of b[:, t] would be as large as b
        h = gate * h + x
        states.append(h)
    return torch.stack(states, dim=1)


def _checked(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    if b.dim() != 3:
        raise ValueError(f"b must be (batch, time, channels), not {tuple(b.shape)}")
    if a.shape not in (b.shape[2:], b.shape):
        raise ValueError(f"a must be {tuple(b.shape[2:])} or {tuple(b.shape)}, not {tuple(a.shape)}")
    h0 = b.new_zeros(b.shape[0], b.shape[2]) if h0 is None else h0
    if h0.shape != (b.shape[0], b.shape[2]):
        raise ValueError(f"h0 must be {(b.shape[0], b.shape[2])}, not {tuple(h0.shape)}")
    if not (a.dtype == b.dtype == h0.dtype):
        raise ValueError(f"a, b and h0 must share one dtype, not {a.dtype}, {b.dtype}, {h0.dtype}")
    return h0


class _Compiled(torch.autograd.Function):
    """Forward and backward by the compiled kernels; the gradient runs the same recurrence back in time."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        h = torch.empty_like(b, memory_format=torch.contiguous_format)
        arrays = [array(a), array(b), array(h0), h.numpy()]
        kernel = _forward_fixed if a.dim() == 1 else _forward_gated
        over_rows(kernel, arrays, shared=1 if a.dim() == 1 else 0)
        ctx.save_for_backward(a, h0, h)
        return h

    @staticmethod
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, h0, h = ctx.saved_tensors
        g, fixed = torch.empty_like(h), a.dim() == 1
        grad_a = torch.empty_like(h0 if fixed else a)  # time-invariant: one sum a row, added up below
        kernel = _backward_fixed if fixed else _backward_gated
        arrays = [array(a.conj()), array(grad_h), array(h0), array(h), g.numpy(), grad_a.numpy()]
        over_rows(kernel, arrays, shared=1 if fixed else 0)
        gate = a if fixed else a[:, 0]
        return grad_a.sum(0) if fixed else grad_a, g, gate.conj() * g[:, 0]


# Slices, not index pairs: without the wrap-around checks of h[r, t - 1, n] the inner loop becomes SIMD.


@numba.njit(cache=True, nogil=True)
def _forward_fixed(a, b, h0, h):  # type: ignore[no-untyped-def]
    rows, steps, channels = b.shape
    for r in range(rows):
        before = h0[r]
        for t in range(steps):
            now, x = h[r, t], b[r, t]
            for n in range(channels):
                now[n] = a[n] * before[n] + x[n]
            before = now


@numba.njit(cache=True, nogil=True)
def _forward_gated(a, b, h0, h):  # type: ignore[no-untyped-def]
    rows, steps, channels = b.shape
    for r in range(rows):
        before = h0[r]
        for t in range(steps):
            now, x, gate = h[r, t], b[r, t], a[r, t]
            for n in range(channels):
                now[n] = gate[n] * before[n] + x[n]
            before = now


@numba.njit(cache=True, nogil=True)
def _backward_fixed(a_conj, grad, h0, h, g, grad_a):  # type: ignore[no-untyped-def]
    rows, steps, channels = grad.shape
    for r in range(rows):
        g[r, steps - 1] = grad[r, steps - 1]
        after, total = g[r, steps - 1], grad_a[r]
        total[:] = 0
        for back in range(steps - 1):
            t = steps - 2 - back
            now, x, state = g[r, t], grad[r, t], h[r, t]
            for n in range(channels):
                now[n] = a_conj[n] * after[n] + x[n]
                total[n] += after[n] * np.conj(state[n])
            after = now
        first = h0[r]
        for n in range(channels):
            total[n] += after[n] * np.conj(first[n])


@numba.njit(cache=True, nogil=True)
def _backward_gated(a_conj, grad, h0, h, g, grad_a):  # type: ignore[no-untyped-def]
    rows, steps, channels = grad.shape
    for r in range(rows):
        g[r, steps - 1] = grad[r, steps - 1]
        after = g[r, steps - 1]
        for back in range(steps - 1):
            t = steps - 2 - back
            now, x, state, gate, slope = g[r, t], grad[r, t], h[r, t], a_conj[r, t + 1], grad_a[r, t + 1]
            for n in range(channels):
                now[n] = gate[n] * after[n] + x[n]
                slope[n] = after[n] * np.conj(state[n])
            after = now
        first, slope = h0[r], grad_a[r, 0]
        for n in range(channels):
            slope[n] = after[n] * np.conj(first[n])
