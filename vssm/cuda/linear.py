"""Products y = x W^T + b on CUDA with what stands before and after them in a network, in one kernel.

    before   layer norm of x
    after    + d * s, + r, activate; or of two products at once: gated residual, Gaussian latent

A program computes BLOCK_M rows and BLOCK_N outputs. Its sizes depend on the layer alone, never on the number of rows,
and the inputs are added up in a fixed order, so a row has the same bits whoever stands beside it. Rows are padded
within the last program. "bf16" rounds both factors to bfloat16 and adds up in float32; "float32" is IEEE single
throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import triton
import triton.language as tl
from torch import Tensor

from vssm.cuda import INTERPRETED

Precision = Literal["bf16", "float32"]


@triton.jit
def _operand(x, BF16: tl.constexpr, EMULATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """x as a factor; rounded to bfloat16 by hand for the interpreter, which multiplies bfloat16 as integers."""
    if BF16:
        if EMULATED:
            bits = x.to(tl.uint32, bitcast=True)
            bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
            factor = bits.to(tl.float32, bitcast=True)
        else:
            factor = x.to(tl.bfloat16)
    else:
        factor = x
    return factor


@triton.jit
def _dot(x, weight, total, EMULATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """total + x weight. The interpreter's own product is a library's, which rounds a row by its place in the tile."""
    if EMULATED:
        total += tl.sum(x[:, :, None] * weight[None, :, :], 1)
    else:
        total = tl.dot(x, weight, total, input_precision="ieee")
    return total


@triton.jit
def _squash(v):  # type: ignore[no-untyped-def]
    """`vssm.gates.squash`."""
    return 0.5 * (1.0 + v * tl.rsqrt(1.0 + v * v))


@triton.jit
def _exp(x):  # type: ignore[no-untyped-def]
    """`vssm.exact.exact_exp` of float32."""
    wide = x.to(tl.float64)
    power = tl.floor(wide * 1.4426950408889634 + 0.5)
    rest = wide - power * 0.6931471805599453
    total = rest * 0.0 + 1.0
    for k in tl.static_range(13, 0, -1):
        total = total * rest * (1.0 / k) + 1.0
    two_to_power = ((power.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    return (total * two_to_power).to(tl.float32)


@triton.jit
def _row_moments(x_ptr, row, live, EPS: tl.constexpr, K: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mean and inverse standard deviation of every row, in two passes; the third one finds x in the cache."""
    mean = tl.zeros((BLOCK_M,), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        there = live[:, None] & (k < K)[None, :]
        mean += tl.sum(tl.load(x_ptr + row[:, None] * K + k[None, :], mask=there, other=0.0).to(tl.float32), 1)
    mean = mean / K
    square = tl.zeros((BLOCK_M,), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        there = live[:, None] & (k < K)[None, :]
        x = tl.load(x_ptr + row[:, None] * K + k[None, :], mask=there, other=0.0).to(tl.float32) - mean[:, None]
        square += tl.sum(tl.where(there, x * x, 0.0), 1)
    return mean, tl.rsqrt(square / K + EPS)


@triton.jit(do_not_specialize=["rows"])
def _single(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, bias_ptr, out_ptr, norm_ptr, normed_ptr, skip_ptr, skip_weight_ptr, add_ptr, rows,
    K: tl.constexpr, N: tl.constexpr, KP: tl.constexpr, EPS: tl.constexpr, NORM: tl.constexpr, SKIP: tl.constexpr,
    ADD: tl.constexpr, ACTIVATE: tl.constexpr, KEEP: tl.constexpr, BF16: tl.constexpr, EMULATED: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """out = activate(norm(x) W^T + b + skip_weight * skip + add); what is not asked for is left out."""
    blocks: tl.constexpr = (N + BLOCK_N - 1) // BLOCK_N
    row = (tl.program_id(0) // blocks).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    live = row < rows
    column = tl.program_id(0) % blocks
    n = column * BLOCK_N + tl.arange(0, BLOCK_N)
    if NORM:
        mean, scale = _row_moments(x_ptr, row, live, EPS, K, BLOCK_M, BLOCK_K)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        there = live[:, None] & (k < K)[None, :]
        x = tl.load(x_ptr + row[:, None] * K + k[None, :], mask=there, other=0.0)
        if NORM:
            gain = tl.load(norm_ptr + k, mask=k < K, other=0.0)
            offset = tl.load(norm_ptr + K + k, mask=k < K, other=0.0)
            x = (x.to(tl.float32) - mean[:, None]) * scale[:, None] * gain[None, :] + offset[None, :]
        factor = _operand(x, BF16, EMULATED)
        if KEEP:
            here = k < tl.where(column == 0, K, 0)
            where = normed_ptr + row[:, None] * K + k[None, :]
            tl.store(where, factor.to(normed_ptr.dtype.element_ty), mask=live[:, None] & here[None, :])
        weight = tl.load(weight_ptr + n[None, :] * KP + k[:, None])
        total = _dot(factor, weight, total, EMULATED)
    total += tl.load(bias_ptr + n)[None, :]
    at = row[:, None] * N + n[None, :]
    there = live[:, None] & (n < N)[None, :]
    if SKIP:
        skipped = tl.load(skip_ptr + at, mask=there, other=0.0).to(tl.float32)
        total += tl.load(skip_weight_ptr + n, mask=n < N, other=0.0)[None, :] * skipped
    if ADD:
        total += tl.load(add_ptr + at, mask=there, other=0.0)
    if ACTIVATE:
        total = total * _squash(total)
    tl.store(out_ptr + at, total.to(out_ptr.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=["rows"])
def _double(  # type: ignore[no-untyped-def]
    x_ptr, weight_ptr, bias_ptr, out_ptr, other_ptr, rows,
    K: tl.constexpr, N: tl.constexpr, KP: tl.constexpr, NP: tl.constexpr, LIMIT: tl.constexpr, LATENT: tl.constexpr,
    BF16: tl.constexpr, EMULATED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Of u, v = x W^T + b: other + u * squash(v), or with LATENT u + exp(v) * other, v clamped to LIMIT."""
    blocks: tl.constexpr = (N + BLOCK_N - 1) // BLOCK_N
    row = (tl.program_id(0) // blocks).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    live = row < rows
    n = tl.program_id(0) % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    u = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    v = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        there = live[:, None] & (k < K)[None, :]
        x = tl.load(x_ptr + row[:, None] * K + k[None, :], mask=there, other=0.0)
        factor = _operand(x, BF16, EMULATED)
        first = tl.load(weight_ptr + n[None, :] * KP + k[:, None])
        second = tl.load(weight_ptr + (NP + n)[None, :] * KP + k[:, None])
        u = _dot(factor, first, u, EMULATED)
        v = _dot(factor, second, v, EMULATED)
    u += tl.load(bias_ptr + n)[None, :]
    v += tl.load(bias_ptr + NP + n)[None, :]
    at = row[:, None] * N + n[None, :]
    there = live[:, None] & (n < N)[None, :]
    other = tl.load(other_ptr + at, mask=there, other=0.0)
    if LATENT:
        clamped = tl.where(v > LIMIT, LIMIT, tl.where(v < -LIMIT, -LIMIT, v))  # keeps NaN, unlike a minimum
        out = u + _exp(clamped) * other
    else:
        out = other + u * _squash(v)
    tl.store(out_ptr + at, out, mask=there)


@dataclass(frozen=True)
class Norm:
    """A layer norm: gains and offsets (2, K)."""

    values: Tensor
    eps: float


@dataclass(frozen=True)
class Packed:
    """A layer's weights (parts, NP, KP) and biases (parts, NP), padded with zeros to whole blocks (M, N, K).

    Two parts are two products of the same input, each `out_size` wide.
    """

    weight: Tensor
    bias: Tensor
    in_size: int
    out_size: int
    bf16: bool
    blocks: tuple[int, int, int]

    @property
    def warps(self) -> int:
        return 8 if self.bf16 else 4

    def grid(self, rows: int) -> tuple[int]:
        return (triton.cdiv(rows, self.blocks[0]) * triton.cdiv(self.out_size, self.blocks[1]),)


def pack(weight: Tensor, bias: Tensor | None, precision: Precision, parts: int = 1) -> Packed:
    """The layer x W^T + b of `weight` (parts * N, K) and `bias` (parts * N,)."""
    out_size, in_size = weight.shape[0] // parts, weight.shape[1]
    blocks = block_sizes(in_size, out_size, parts, precision)
    padded = [-(-size // block) * block for size, block in zip((out_size, in_size), blocks[1:], strict=True)]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    packed = torch.zeros(parts, *padded, dtype=dtype, device=weight.device)
    packed[:, :out_size, :in_size] = weight.detach().view(parts, out_size, in_size)
    offsets = torch.zeros(parts, padded[0], device=weight.device)
    if bias is not None:
        offsets[:, :out_size] = bias.detach().view(parts, out_size)
    if INTERPRETED:
        packed = packed.float()  # keeps the rounding
    return Packed(packed, offsets, in_size, out_size, precision == "bf16", blocks)


def block_sizes(in_size: int, out_size: int, parts: int, precision: Precision) -> tuple[int, int, int]:
    """Rows, outputs and inputs of a program; the outputs so that few are padding, 16 at least."""
    rows, widest, deep = (128, 128 // parts, 64) if precision == "bf16" else (64, 64 // parts, 32)
    wide = min(widest, max(16, triton.next_power_of_2(out_size)))
    if wide == 128 and -out_size % 128 >= 64:
        wide = 64
    return rows, wide, min(deep, max(16, triton.next_power_of_2(in_size)))


def linear(
    layer: Packed,
    x: Tensor,
    *,
    norm: Norm | None = None,
    normed: Tensor | None = None,
    skip: tuple[Tensor, Tensor] | None = None,
    add: Tensor | None = None,
    activate: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """activate(norm(x) W^T + b + d * s + add): x (..., K) -> (..., N) of `dtype`; what is not given is left out.

    `skip` is d (N,) and s (..., N), `add` is float32 (..., N). `normed` (..., K) receives norm(x) as it was multiplied.
    """
    out = torch.empty(*x.shape[:-1], layer.out_size, dtype=dtype, device=x.device)
    rows = x.numel() // layer.in_size
    unused = layer.bias
    d, s = skip or (unused, unused)
    _single[layer.grid(rows)](
        _dense(x), layer.weight, layer.bias, out,
        unused if norm is None else norm.values, unused if normed is None else normed,
        _dense(s), d, unused if add is None else _dense(add), rows,
        layer.in_size, layer.out_size, layer.weight.shape[-1], 0.0 if norm is None else norm.eps, norm is not None,
        skip is not None, add is not None, activate, normed is not None, layer.bf16, INTERPRETED, *layer.blocks,
        num_warps=layer.warps, num_stages=2, enable_fp_fusion=False,
    )  # fmt: skip
    return out


def gated(layer: Packed, x: Tensor, residual: Tensor) -> Tensor:
    """residual + u * squash(v), where u and v (..., N) are the two products of x (..., K); float32."""
    return _doubled(layer, x, residual, None)


def latent(layer: Packed, x: Tensor, noise: Tensor, limit: float) -> Tensor:
    """u + exp(v) * noise, v clamped to [-limit, limit], where u and v are the two products of x; float32."""
    return _doubled(layer, x, noise, limit)


def _doubled(layer: Packed, x: Tensor, other: Tensor, limit: float | None) -> Tensor:
    out = torch.empty_like(other, memory_format=torch.contiguous_format)
    rows = x.numel() // layer.in_size
    _double[layer.grid(rows)](
        _dense(x), layer.weight, layer.bias, out, _dense(other), rows,
        layer.in_size, layer.out_size, layer.weight.shape[-1], layer.weight.shape[-2],
        limit or 0.0, limit is not None, layer.bf16, INTERPRETED, *layer.blocks,
        num_warps=layer.warps, num_stages=2, enable_fp_fusion=False,
    )  # fmt: skip
    return out


def _dense(x: Tensor) -> Tensor:
    """Contiguous, and where 16 bytes begin: Triton compiles what does not another kernel, of other bits."""
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()
