"""Row-wise operations whose result for one row never depends on the rows beside it.

A matrix product may round a row differently when it is computed among more or fewer rows, because the library
picks another kernel. Generation must not notice who shares its batch, so products outside training go through
`linear`, in tiles of a fixed number of rows, the last one padded. `tile_sizes` checks on the machine at hand that
larger tiles give the bits of small ones before they are used. Everything else that a VSSM does to a row is either
an operation that IEEE 754 rounds exactly (`gates`, `exact_exp`) or reduces within the row.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 32
_LARGER_TILES = (512, 128)
_ALIGN = 4  # inputs a row; other counts make some libraries round by a row's place, zeros change no sum


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., K) times weight (N, K) transposed, plus bias: (..., N); each row as if it were alone."""
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    flat = x.reshape(-1, x.shape[-1])
    if odd := -flat.shape[1] % _ALIGN:
        flat, weight = F.pad(flat, (0, odd)), F.pad(weight, (0, odd))
    return _tiled(flat, weight, bias).reshape(*x.shape[:-1], weight.shape[0])


def _tiled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows, out_size = x.shape[0], weight.shape[0]
    padded = -(-rows // TILE) * TILE
    if padded != rows:
        x = F.pad(x, (0, 0, 0, padded - rows))
    out = x.new_empty(padded, out_size)
    sizes = tile_sizes(weight.shape[1], out_size, bias is not None, x.device.type, torch.get_num_threads())
    start = 0
    for size in sizes:
        while padded - start >= size:
            _product(x[start : start + size], weight, bias, out[start : start + size])
            start += size
    return out[:rows]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)


@cache
def tile_sizes(in_size: int, out_size: int, bias: bool, device: str, threads: int) -> tuple[int, ...]:
    """Tiles, largest first, that give every row the same bits as a tile of TILE rows on this machine.

    `threads` is part of the key because another number of threads may pick other kernels. Raises RuntimeError
    where even TILE rows disagree with each other, since nothing generated there could be resumed.
    """
    generator = torch.Generator().manual_seed(in_size * 65537 + out_size)
    weight = torch.randn(out_size, in_size, generator=generator).to(device)
    offset = torch.randn(out_size, generator=generator).to(device) if bias else None
    x = torch.randn(TILE, in_size, generator=generator).to(device)
    expected = x.new_empty(TILE, out_size)
    _product(x, weight, offset, expected)
    if not _agrees(x, weight, offset, expected, TILE):
        raise RuntimeError(f"this machine's {in_size} x {out_size} matrix product depends on a row's place in its tile")
    return (*(size for size in _LARGER_TILES if _agrees(x, weight, offset, expected, size)), TILE)


def _agrees(x: Tensor, weight: Tensor, bias: Tensor | None, expected: Tensor, size: int) -> bool:
    """Whether the rows of x, moved through a tile of `size` rows, always give `expected`."""
    for shift in range(0, TILE, 5):
        many = x.roll(shift, 0).repeat(size // TILE, 1)
        out = many.new_empty(size, weight.shape[0])
        _product(many, weight, bias, out)
        if not torch.equal(out, expected.roll(shift, 0).repeat(size // TILE, 1)):
            return False
    return True


def exact_exp(x: Tensor) -> Tensor:
    """exp, x clamped to [-80, 80], from exactly rounded operations; error below one unit in float32's last place."""
    exact: Tensor = _Exp.apply(x)  # type: ignore[no-untyped-call]
    return exact


class _Exp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = x.double().clamp(-80.0, 80.0)
        power = torch.round(wide * (1.0 / _LN2))
        rest = wide - power * _LN2
        total = torch.full_like(rest, _TAYLOR[-1])
        for c in _TAYLOR[-2::-1]:
            total = total * rest + c
        two_to_power = ((power.to(torch.int64) + 1023) << 52).view(torch.float64)
        result = (total * two_to_power).to(x.dtype)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        gradient: Tensor = grad * result
        return gradient


_LN2 = math.log(2.0)
_TAYLOR = tuple(1.0 / math.factorial(k) for k in range(14))
