"""Vectors of 16 floats in LLVM's instructions, for the few loops that must stay in registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

WIDTH = 16
INDEX, LANE, FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
VECTOR = ir.VectorType(FLOAT, WIDTH)
_NOTHING = ir.Constant(VECTOR, ir.Undefined)


def row_pointers(builder: Any, array: Any, first: Any, count: int) -> list[Any]:
    """Where `count` rows of a two-dimensional array (C order) begin, from row `first` on."""
    stride = builder.extract_value(array.shape, 1)
    return [builder.gep(array.data, [builder.mul(builder.add(first, INDEX(i)), stride)]) for i in range(count)]


def load(builder: Any, pointer: Any) -> Any:
    """16 floats from a pointer to the first."""
    loaded = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    loaded.align = 4
    return loaded


def store(builder: Any, value: Any, pointer: Any) -> None:
    """16 floats to a pointer to the first."""
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


def broadcast(builder: Any, value: Any) -> Any:
    """One float in all lanes."""
    first = builder.insert_element(_NOTHING, value, LANE(0))
    return builder.shuffle_vector(first, _NOTHING, ir.Constant(ir.VectorType(LANE, WIDTH), [0] * WIDTH))


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f32"), [a, b, c])


def _deviations(typing, x, row, blocks, mean):  # type: ignore[no-untyped-def]
    """Sums of v and of v^2, v = x[row, j] - mean, over j < 16 * blocks: lane by lane, then the lanes in a tree."""
    signature = types.UniTuple(types.float32, 2)(x, types.intp, types.intp, types.float32)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = make_array(signature.args[0])(context, builder, arguments[0])
        (values,) = row_pointers(builder, array, arguments[1], 1)
        sums = _accumulate(builder, values, arguments[2], broadcast(builder, arguments[3]))
        return context.make_tuple(builder, signature.return_type, [_tree(builder, lanes) for lanes in sums])

    return signature, generate


deviations: Any = intrinsic(_deviations)


def _accumulate(builder: Any, values: Any, blocks: Any, mean: Any) -> list[Any]:
    zero = ir.Constant(VECTOR, [0.0] * WIDTH)
    before, loop, after = builder.block, builder.append_basic_block("lanes"), builder.append_basic_block("summed")
    builder.cbranch(builder.icmp_signed(">", blocks, INDEX(0)), loop, after)
    builder.position_at_end(loop)
    k, plain, squares = builder.phi(INDEX), builder.phi(VECTOR), builder.phi(VECTOR)
    v = builder.fsub(load(builder, builder.gep(values, [builder.mul(k, INDEX(WIDTH))])), mean)
    added = [builder.fadd(plain, v), builder.fadd(squares, builder.fmul(v, v))]
    following = builder.add(k, INDEX(1))
    builder.cbranch(builder.icmp_signed("<", following, blocks), loop, after)
    for phi, first, then in ((k, INDEX(0), following), (plain, zero, added[0]), (squares, zero, added[1])):
        phi.add_incoming(first, before)
        phi.add_incoming(then, loop)
    builder.position_at_end(after)
    sums = [builder.phi(VECTOR) for _ in added]
    for total, new in zip(sums, added, strict=True):
        total.add_incoming(zero, before)
        total.add_incoming(new, loop)
    return sums


def _tree(builder: Any, lanes: Any) -> Any:
    width = WIDTH
    while width > 1:
        width //= 2
        upper = ir.Constant(ir.VectorType(LANE, WIDTH), [min(i + width, WIDTH - 1) for i in range(WIDTH)])
        lanes = builder.fadd(lanes, builder.shuffle_vector(lanes, _NOTHING, upper))
    return builder.extract_element(lanes, LANE(0))
