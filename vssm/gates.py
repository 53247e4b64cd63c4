"""The nonlinearities of every network, made of exactly rounded operations and fused into one pass on the CPU.

    squash(v)    (1 + v / sqrt(1 + v^2)) / 2       a sigmoid that has the same bits in SIMD and scalar code
    activate(v)  v * squash(v)                     as SiLU is v * sigmoid(v)
    glu(u)       u[..., :D] * squash(u[..., D:])   gated linear unit, (..., 2D) -> (..., D)

The compiled kernels round every operation exactly as IEEE 754 says, without fused multiply-adds, so their bits do
not depend on SIMD width, tails or threads. Torch's own float32 square root on the CPU does not do so (it is a vector
library's, and 14 % of the last bits differ), so there the kernels are not an option but the definition.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import torch
from torch import Tensor

from vssm.parallel import array, over_rows


def squash(v: Tensor) -> Tensor:
    """(1 + v / sqrt(1 + v^2)) / 2, elementwise."""
    return 0.5 * (1.0 + v / torch.sqrt(1.0 + v * v))


def activate_reference(v: Tensor) -> Tensor:
    """`activate` as its formula reads; any device, differentiable by torch."""
    return v * squash(v)


def glu_reference(u: Tensor) -> Tensor:
    """`glu` as its formula reads; any device, differentiable by torch."""
    value, by = u.chunk(2, dim=-1)
    return value * squash(by)


def activate(v: Tensor) -> Tensor:
    """v * squash(v), elementwise; differentiable."""
    if torch.compiler.is_compiling():
        return activate_reference(v)
    if v.device.type == "cpu":
        out: Tensor = _Activate.apply(v)  # type: ignore[no-untyped-call]
        return out
    if v.device.type == "cuda" and v.dtype == torch.float32:
        from vssm.cuda import gates as kernels  # needs Triton, which the CPU does not

        return kernels.activate(v)
    return activate_reference(v)


def glu(u: Tensor) -> Tensor:
    """The first half of the last dimension gated by the second: (..., 2D) -> (..., D); differentiable."""
    if torch.compiler.is_compiling():
        return glu_reference(u)
    if u.device.type == "cpu":
        out: Tensor = _Glu.apply(u)  # type: ignore[no-untyped-call]
        return out
    if u.device.type == "cuda" and u.dtype == torch.float32:
        from vssm.cuda import gates as kernels  # needs Triton, which the CPU does not

        return kernels.glu(u)
    return glu_reference(u)


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        over_rows(_activate, [array(v).reshape(-1), out.numpy().reshape(-1)])
        ctx.save_for_backward(v)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        over_rows(_activate_backward, [array(v).reshape(-1), array(grad).reshape(-1), out.numpy().reshape(-1)])
        return out


class _Glu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        half = u.shape[-1] // 2
        out = u.new_empty(*u.shape[:-1], half)
        over_rows(_glu, [array(u).reshape(-1, 2 * half), out.numpy().reshape(-1, half)])
        ctx.save_for_backward(u)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        half = u.shape[-1] // 2
        out = torch.empty_like(u, memory_format=torch.contiguous_format)
        shape = (-1, 2 * half)
        over_rows(_glu_backward, [array(u).reshape(shape), array(grad).reshape(-1, half), out.numpy().reshape(shape)])
        return out


# error_model="numpy" leaves out the check for division by zero, which would keep the loops from becoming SIMD.


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _activate(v, out):  # type: ignore[no-untyped-def]
    one, half = v.dtype.type(1.0), v.dtype.type(0.5)
    for i in range(v.shape[0]):
        x = v[i]
        out[i] = x * (half * (one + x / math.sqrt(one + x * x)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _activate_backward(v, grad, out):  # type: ignore[no-untyped-def]
    one, half = v.dtype.type(1.0), v.dtype.type(0.5)
    for i in range(v.shape[0]):
        x = v[i]
        square = one + x * x
        ratio = x / math.sqrt(square)
        out[i] = grad[i] * (half * (one + ratio) + half * ratio / square)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _glu(u, out):  # type: ignore[no-untyped-def]
    one, half = u.dtype.type(1.0), u.dtype.type(0.5)
    rows, width = out.shape
    for r in range(rows):
        value, by, result = u[r, :width], u[r, width:], out[r]
        for i in range(width):
            b = by[i]
            result[i] = value[i] * (half * (one + b / math.sqrt(one + b * b)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _glu_backward(u, grad, out):  # type: ignore[no-untyped-def]
    one, half = u.dtype.type(1.0), u.dtype.type(0.5)
    rows, width = grad.shape
    for r in range(rows):
        value, by, g = u[r, :width], u[r, width:], grad[r]
        grad_value, grad_by = out[r, :width], out[r, width:]
        for i in range(width):
            b = by[i]
            square = one + b * b
            root = math.sqrt(square)
            grad_value[i] = g[i] * (half * (one + b / root))
            grad_by[i] = g[i] * value[i] * (half / (square * root))
