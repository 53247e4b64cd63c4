"""The nonlinearities of `vssm.gates` on CUDA, one kernel forward and one back, where torch needs six and a dozen.

For training and bounds: generation has them fused into its products (`vssm.cuda.linear`).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # values a program


@triton.jit
def _activate(v_ptr, out_ptr, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(v_ptr + at, mask=at < count, other=0.0)
    tl.store(out_ptr + at, v * (0.5 * (1.0 + v / tl.sqrt(1.0 + v * v))), mask=at < count)


@triton.jit
def _activate_backward(v_ptr, grad_ptr, out_ptr, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(v_ptr + at, mask=at < count, other=0.0)
    grad = tl.load(grad_ptr + at, mask=at < count, other=0.0)
    square = 1.0 + v * v
    ratio = v / tl.sqrt(square)
    tl.store(out_ptr + at, grad * (0.5 * (1.0 + ratio) + 0.5 * ratio / square), mask=at < count)


@triton.jit
def _glu(u_ptr, out_ptr, count, WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """u (rows, 2 WIDTH), out (rows, WIDTH)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = u_ptr + at + at // WIDTH * WIDTH
    value = tl.load(there, mask=at < count, other=0.0)
    by = tl.load(there + WIDTH, mask=at < count, other=0.0)
    tl.store(out_ptr + at, value * (0.5 * (1.0 + by / tl.sqrt(1.0 + by * by))), mask=at < count)


@triton.jit
def _glu_backward(u_ptr, grad_ptr, out_ptr, count, WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """u, out (rows, 2 WIDTH), grad (rows, WIDTH)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at + at // WIDTH * WIDTH
    value = tl.load(u_ptr + there, mask=at < count, other=0.0)
    by = tl.load(u_ptr + there + WIDTH, mask=at < count, other=0.0)
    grad = tl.load(grad_ptr + at, mask=at < count, other=0.0)
    square = 1.0 + by * by
    root = tl.sqrt(square)
    tl.store(out_ptr + there, grad * (0.5 * (1.0 + by / root)), mask=at < count)
    tl.store(out_ptr + there + WIDTH, grad * value * (0.5 / (square * root)), mask=at < count)


def activate(v: Tensor) -> Tensor:
    """`vssm.gates.activate` of float32 (...)."""
    out: Tensor = _Activate.apply(v)  # type: ignore[no-untyped-call]
    return out


def glu(u: Tensor) -> Tensor:
    """`vssm.gates.glu` of float32 (..., 2D) -> (..., D)."""
    out: Tensor = _Glu.apply(u)  # type: ignore[no-untyped-call]
    return out


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        v = v.contiguous()
        out = torch.empty_like(v)
        _activate[_grid(out)](v, out, out.numel(), BLOCK)
        ctx.save_for_backward(v)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        out = torch.empty_like(v)
        _activate_backward[_grid(v)](v, grad.contiguous(), out, v.numel(), BLOCK)
        return out


class _Glu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        u = u.contiguous()
        half = u.shape[-1] // 2
        out = u.new_empty(*u.shape[:-1], half)
        _glu[_grid(out)](u, out, out.numel(), half, BLOCK)
        ctx.save_for_backward(u)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        out = torch.empty_like(u)
        _glu_backward[_grid(grad)](u, grad.contiguous(), out, grad.numel(), u.shape[-1] // 2, BLOCK)
        return out


def _grid(x: Tensor) -> tuple[int]:
    """Programs for as many values as x has; one at least, as none may be launched with none."""
    return (max(1, triton.cdiv(x.numel(), BLOCK)),)
