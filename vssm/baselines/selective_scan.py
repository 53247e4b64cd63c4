"""The selective scan of Mamba in one loop on the CPU, whose gates and states stay in the cache.

    h_t = exp(dt_t A) * h_{t-1} + dt_t x_t B_t    (B, N, E)
    y_t = C_t h_t                                 (B, E)

For the gradient a state is kept every few steps; those between are made again, as many as stay in the cache. Channels
come last, so every loop over them is SIMD. The reference is `vssm.baselines.mamba.scan`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from vssm.parallel import array, over_rows

_KEPT_VALUES = 1 << 17  # of gates, and as many of states, between two kept states: they stay in the second cache
_SUMS: Any = {"contract", "reassoc", "nsz"}  # sums over channels in any order
_LOG2E, _LN2 = math.log2(math.e), math.log(2.0)
_LOWEST = -87.0  # exp of less is not a normal float32


def selective_scan(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """dt, x (B, T, E), A (N, E), B, C (B, T, N), h (B, N, E), float32 on the CPU -> y (B, T, E) and the last h.

    Differentiable; dt must not be negative and A not positive, so that gates are at most one.
    """
    y, last = _Scan.apply(dt, A, B, C, x, h)  # type: ignore[no-untyped-call]
    return y, last


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        rows, steps, _ = x.shape
        every = max(1, min(steps, _KEPT_VALUES // A.numel()))
        needed = any(ctx.needs_input_grad)
        kept = x.new_empty(rows, -(-steps // every) if needed else 0, *A.shape)
        y, last = torch.empty_like(x, memory_format=torch.contiguous_format), h.clone()
        given = [array(dt), array(B), array(C), array(x)]
        over_rows(_forward, [array(A), np.array([every]), kept.numpy(), *given, last.numpy(), y.numpy()], shared=2)
        ctx.save_for_backward(dt, A, B, C, x, kept)
        ctx.every = every
        return y, last

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> tuple[Tensor, ...]:
        dt, A, B, C, x, kept = ctx.saved_tensors
        g = grad_last.contiguous().clone()
        grads = [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (dt, B, C, x)]
        grad_a = A.new_zeros(len(x), *A.shape)
        given = [array(t) for t in (kept, dt, B, C, x, grad_y)]
        results = [t.numpy() for t in (grad_a, g, *grads)]
        over_rows(_backward, [array(A), np.array([ctx.every]), *given, *results], shared=2)
        grad_dt, grad_b, grad_c, grad_x = grads
        return grad_dt, grad_a.sum(0), grad_b, grad_c, grad_x, g


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def _gates(dt, A, gate, powers, scale):  # type: ignore[no-untyped-def]
    """gate[n, e] = exp(dt[e] A[n, e]); `scale` is the memory of `powers` read as float32."""
    ln2, log2e, lowest, half = np.float32(_LN2), np.float32(_LOG2E), np.float32(_LOWEST), np.float32(0.5)
    c2, c3, c4 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)
    c5, c6, one = np.float32(1 / 120), np.float32(1 / 720), np.float32(1)
    states, channels = A.shape
    for n in range(states):
        to, a = gate[n], A[n]
        for e in range(channels):
            v = max(dt[e] * a[e], lowest)
            power = np.floor(v * log2e + half)
            r = v - power * ln2
            powers[e] = (np.int32(power) + np.int32(127)) << np.int32(23)
            to[e] = one + r * (one + r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * c6)))))
        for e in range(channels):
            to[e] *= scale[e]


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def _forward(A, every, kept, dt, B, C, x, h, y):  # type: ignore[no-untyped-def]
    rows, steps, channels = x.shape
    states = A.shape[0]
    gate, drive = np.empty((states, channels), np.float32), np.empty(channels, np.float32)
    powers = np.empty(channels, np.int32)
    scale = powers.view(np.float32)
    for r in range(rows):
        for t in range(steps):
            if kept.shape[1] and t % every[0] == 0:
                kept[r, t // every[0]] = h[r]
            step, now, to = dt[r, t], x[r, t], y[r, t]
            _gates(step, A, gate, powers, scale)
            for e in range(channels):
                drive[e] = step[e] * now[e]
                to[e] = 0
            for n in range(states):
                state, g, b, c = h[r, n], gate[n], B[r, t, n], C[r, t, n]
                for e in range(channels):
                    value = g[e] * state[e] + drive[e] * b
                    state[e] = value
                    to[e] += c * value


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def _backward(A, every, kept, dt, B, C, x, grad_y, grad_a, g, grad_dt, grad_b, grad_c, grad_x):  # type: ignore[no-untyped-def]
    """`g` is the gradient of the last state, and becomes that of the first."""
    rows, steps, channels = x.shape
    states, most = A.shape[0], every[0]
    gates = np.empty((most, states, channels), np.float32)
    hs = np.empty((most + 1, states, channels), np.float32)
    powers = np.empty(channels, np.int32)
    scale = powers.view(np.float32)
    by_b, drive = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for r in range(rows):
        for part in range(kept.shape[1] - 1, -1, -1):
            first = part * most
            count = min(most, steps - first)
            hs[0] = kept[r, part]
            for i in range(count):
                step, now = dt[r, first + i], x[r, first + i]
                _gates(step, A, gates[i], powers, scale)
                for n in range(states):
                    before, after, gate, b = hs[i, n], hs[i + 1, n], gates[i, n], B[r, first + i, n]
                    for e in range(channels):
                        after[e] = gate[e] * before[e] + step[e] * now[e] * b
            for i in range(count - 1, -1, -1):
                t = first + i
                step, now, out, to_dt = dt[r, t], x[r, t], grad_y[r, t], grad_dt[r, t]
                for e in range(channels):
                    by_b[e] = 0
                    drive[e] = step[e] * now[e]
                for n in range(states):
                    before, after, gate, a = hs[i, n], hs[i + 1, n], gates[i, n], A[n]
                    adjoint, to_a, b, c = g[r, n], grad_a[r, n], B[r, t, n], C[r, t, n]
                    of_b, of_c = np.float32(0), np.float32(0)
                    for e in range(channels):
                        total = adjoint[e] + out[e] * c
                        of_c += out[e] * after[e]
                        of_b += total * drive[e]
                        by_b[e] += total * b
                        total *= gate[e]
                        adjoint[e] = total
                        total *= before[e]
                        to_a[e] += total * step[e]
                        to_dt[e] += total * a[e]
                    grad_b[r, t, n], grad_c[r, t, n] = of_b, of_c
                to_x = grad_x[r, t]
                for e in range(channels):
                    to_dt[e] += by_b[e] * now[e]
                    to_x[e] = by_b[e] * step[e]
