"""A matrix product in register tiles: up to 6 rows by 16 columns, one fused multiply-add for every input, in order.

    weight  (P, K, 16)   packed: P panels of 16 output columns, K >= 1 inputs; columns beyond the last are zeros
    bias    (P * 16,)
    x       (rows, >= K) and out (rows, P * 16), C order

Every element of `out` is bias + x_0 w_0 + x_1 w_1 + ... by fused multiply-adds in this order, on any processor. So
the bits of a row depend neither on the rows beside it nor on the tile's height, thread or vector width: what a tuned
library does not promise. Written in LLVM's vector instructions, because loops alone do not keep the sums in
registers; on the shapes of a model it is as fast as the library or faster. Knows nothing of models.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from vssm.compiled.vectors import INDEX, VECTOR, WIDTH, broadcast, fused, load, row_pointers, store

HEIGHT = 6  # 12 sums of 8 lanes leave 4 of AVX2's 16 registers for what they read
Floats = NDArray[np.float32]


def pack(weight: Floats) -> Floats:
    """A weight (N, K) as panels (P, K, 16)."""
    out_size, in_size = weight.shape
    panels = np.zeros((-(-out_size // WIDTH), in_size, WIDTH), np.float32)
    for column in range(out_size):
        panels[column // WIDTH, :, column % WIDTH] = weight[column]
    return panels


def pad(vector: Floats) -> Floats:
    """A vector (N,) with zeros up to whole panels (P * 16,)."""
    return np.pad(vector.astype(np.float32), (0, -len(vector) % WIDTH))


def _product(height: int) -> Any:
    """The product of `height` rows with one panel, as a function for compiled code."""

    def product(typing, x, x_row, weight, panel, bias, out, out_row):  # type: ignore[no-untyped-def]
        signature = types.void(x, types.intp, weight, types.intp, bias, out, types.intp)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            arrays = {
                i: make_array(signature.args[i])(context, builder, arguments[i])
                for i in (0, 2, 4, 5)  # x, weight, bias, out
            }
            _emit(builder, height, arrays, arguments[1], arguments[3], arguments[6])
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(product)


def _emit(builder: Any, height: int, arrays: dict[int, Any], x_row: Any, panel: Any, out_row: Any) -> None:
    """LLVM code: sums in registers, a loop over K, and the stores."""
    x, weight, bias, out = (arrays[i] for i in (0, 2, 4, 5))
    inputs = builder.extract_value(weight.shape, 1)
    rows = row_pointers(builder, x, x_row, height)
    column = builder.mul(panel, INDEX(WIDTH))
    weights = builder.gep(weight.data, [builder.mul(column, inputs)])
    start = load(builder, builder.gep(bias.data, [column]))
    before, loop, after = builder.block, builder.append_basic_block("inputs"), builder.append_basic_block("stores")
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(INDEX)
    sums = [builder.phi(VECTOR) for _ in range(height)]
    w = load(builder, builder.gep(weights, [builder.mul(k, INDEX(WIDTH))]))
    inputs_now = [broadcast(builder, builder.load(builder.gep(row, [k]))) for row in rows]
    added = [fused(builder, value, w, total) for value, total in zip(inputs_now, sums, strict=True)]
    following = builder.add(k, INDEX(1))
    k.add_incoming(INDEX(0), before)
    k.add_incoming(following, loop)
    for total, new in zip(sums, added, strict=True):
        total.add_incoming(start, before)
        total.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, inputs), loop, after)

    builder.position_at_end(after)
    for row, new in zip(row_pointers(builder, out, out_row, height), added, strict=True):
        store(builder, new, builder.gep(row, [column]))


_one, _two, _three, _four, _five, _six = (_product(height) for height in range(1, HEIGHT + 1))


@numba.njit(cache=True, nogil=True)
def dense(x, x_row, rows, weight, bias, out, out_row):  # type: ignore[no-untyped-def]
    """`rows` rows of x from `x_row` on, times the weight, plus the bias, into those of `out` from `out_row` on."""
    whole = rows - rows % HEIGHT
    left = rows - whole
    for panel in range(weight.shape[0]):
        for r in range(0, whole, HEIGHT):
            _six(x, x_row + r, weight, panel, bias, out, out_row + r)
        if left == 1:
            _one(x, x_row + whole, weight, panel, bias, out, out_row + whole)
        elif left == 2:
            _two(x, x_row + whole, weight, panel, bias, out, out_row + whole)
        elif left == 3:
            _three(x, x_row + whole, weight, panel, bias, out, out_row + whole)
        elif left == 4:
            _four(x, x_row + whole, weight, panel, bias, out, out_row + whole)
        elif left == 5:
            _five(x, x_row + whole, weight, panel, bias, out, out_row + whole)
