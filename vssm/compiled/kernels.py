"""The layers of a model as loops over rows (sequence x step), in tiles that stay in the nearest cache.

    x     features (rows, D), a sequence's steps one after another; changed in place
    u     inputs, then states, of an SSM (rows, P * 16): N real parts, N imaginary parts, padding
    rows of every kernel from `first` to `last`: what one thread does

Every operation but the sums of `tile.dense` is rounded by itself and in a fixed order, so bits depend on nothing else.
The same mathematics as torch modules: `vssm.ssm`, `vssm.latents`. Knows nothing of models or threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from vssm.compiled.tile import dense
from vssm.compiled.vectors import WIDTH, deviations

TILE = 48  # rows: a multiple of the product's height, and 48 x 160 inputs fill the first cache
_EPSILON = 1e-5  # of torch's layer norm

# error_model="numpy" leaves out the check for division by zero, which would keep the loops from becoming SIMD.


@numba.njit(cache=True, nogil=True, error_model="numpy")
def normalise(x, row, rows, weight, bias, out):  # type: ignore[no-untyped-def]
    """Layer norm of `rows` rows of x from `row` on, into the first rows of `out`."""
    width = weight.shape[0]
    blocks = width // WIDTH
    size = np.float32(width)
    for r in range(rows):
        values, result = x[row + r], out[r]
        total, _ = deviations(x, row + r, blocks, np.float32(0.0))
        for j in range(WIDTH * blocks, width):
            total += values[j]
        mean = total / size
        _, squares = deviations(x, row + r, blocks, mean)
        for j in range(WIDTH * blocks, width):
            squares += (values[j] - mean) * (values[j] - mean)
        scale = np.float32(1.0) / math.sqrt(squares / size + np.float32(_EPSILON))
        for j in range(width):
            result[j] = (values[j] - mean) * scale * weight[j] + bias[j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def squash(v):  # type: ignore[no-untyped-def]
    one, half = np.float32(1.0), np.float32(0.5)
    return half * (one + v / math.sqrt(one + v * v))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _activate(x, rows, width):  # type: ignore[no-untyped-def]
    for r in range(rows):
        values = x[r]
        for j in range(width):
            values[j] = values[j] * squash(values[j])


# -- blocks of an SSM: enter, scan, leave -------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)
def _normal(x, row, rows, norm, normal):  # type: ignore[no-untyped-def]
    """What the SSM reads: the layer norm of x, or x itself where there is none."""
    gain, shift = norm
    if gain.shape[0]:
        normalise(x, row, rows, gain, shift, normal)
        return
    for r in range(rows):
        values, result = x[row + r], normal[r]
        for j in range(result.shape[0]):
            result[j] = values[j]


@numba.njit(cache=True, nogil=True)
def _enter(x, row, rows, norm, weight, nothing, normal, u):  # type: ignore[no-untyped-def]
    """Inputs of the SSM for `rows` rows of x from `row` on, into the first rows of u; their norm into `normal`."""
    _normal(x, row, rows, norm, normal)
    dense(normal, 0, rows, weight, nothing, u, 0)


@numba.njit(cache=True, nogil=True)
def _scan(u, row, rows, steps, gate, index, state, kept, carry):  # type: ignore[no-untyped-def]
    """h_t = a h_{t-1} + u_t in place, in the first rows of u, which are those of the block from `row` on.

    `state` (sequences, layers, 2N), interleaved, holds in `index` h before the first step and takes h after step `kept`
    of each sequence; `carry` (2N,) takes h from one call to the next where a sequence goes on.
    """
    real, imag = gate
    size = real.shape[0]
    before = carry
    for r in range(rows):
        sequence, step = (row + r) // steps, (row + r) % steps
        if step == 0:
            _split(state[sequence, index], carry)
            before = carry
        now = u[r]
        before_real, before_imag = before[:size], before[size:]
        now_real, now_imag = now[:size], now[size:]
        for n in range(size):
            now_real[n] = real[n] * before_real[n] - imag[n] * before_imag[n] + now_real[n]
        for n in range(size):
            now_imag[n] = real[n] * before_imag[n] + imag[n] * before_real[n] + now_imag[n]
        if step == kept[sequence]:
            _join(now, state[sequence, index])
        before = now
    for n in range(2 * size):
        carry[n] = before[n]


@numba.njit(cache=True, nogil=True)
def _split(pairs, parts):  # type: ignore[no-untyped-def]
    size = pairs.shape[0] // 2
    for n in range(size):
        parts[n], parts[size + n] = pairs[2 * n], pairs[2 * n + 1]


@numba.njit(cache=True, nogil=True)
def _join(parts, pairs):  # type: ignore[no-untyped-def]
    size = pairs.shape[0] // 2
    for n in range(size):
        pairs[2 * n], pairs[2 * n + 1] = parts[n], parts[size + n]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _leave(x, row, rows, normal, u, output, skip, mix, y, g):  # type: ignore[no-untyped-def]
    """What the block adds to its rows of x, from the states in u."""
    width = skip.shape[0]
    weight, bias = output
    dense(u, 0, rows, weight, bias, y, 0)
    for r in range(rows):
        result, inputs = y[r], normal[r]
        for j in range(width):
            result[j] = result[j] + skip[j] * inputs[j]
    weight, bias = mix
    if not weight.shape[0]:
        for r in range(rows):
            values, result = x[row + r], y[r]
            for j in range(width):
                values[j] = values[j] + result[j]
        return
    _activate(y, rows, width)
    dense(y, 0, rows, weight, bias, g, 0)
    for r in range(rows):
        values, result, by = x[row + r], g[r], g[r, width:]
        for j in range(width):
            values[j] = values[j] + result[j] * squash(by[j])


@numba.njit(cache=True, nogil=True)
def block(first, last, x, steps, layer, index, state, kept):  # type: ignore[no-untyped-def]
    """One block over rows `first` to `last` of x, whole sequences of `steps`; see `_scan` for the states."""
    norm, weight, nothing, gate, output, skip, mix = layer
    width, size = skip.shape[0], gate[0].shape[0]
    carry = np.empty(2 * size, np.float32)
    normal, u = np.empty((TILE, width), np.float32), np.empty((TILE, nothing.shape[0]), np.float32)
    y, g = np.empty((TILE, output[1].shape[0]), np.float32), np.empty((TILE, mix[1].shape[0]), np.float32)
    for row in range(first, last, TILE):
        rows = min(TILE, last - row)
        _enter(x, row, rows, norm, weight, nothing, normal, u)
        _scan(u, row, rows, steps, gate, index, state, kept, carry)
        _leave(x, row, rows, normal, u, output, skip, mix, y, g)


# The same in three turns, for fewer sequences than threads: rows of one sequence enter and leave on all of them.


@numba.njit(cache=True, nogil=True)
def enter(first, last, x, layer, u):  # type: ignore[no-untyped-def]
    """The inputs of the SSM of rows `first` to `last`, into the same rows of u."""
    norm, weight, nothing, _, _, skip, _ = layer
    normal = np.empty((TILE, skip.shape[0]), np.float32)
    for row in range(first, last, TILE):
        rows = min(TILE, last - row)
        _enter(x, row, rows, norm, weight, nothing, normal, u[row:last])


@numba.njit(cache=True, nogil=True)
def scan(first, last, u, steps, layer, index, state, kept):  # type: ignore[no-untyped-def]
    """The states of rows `first` to `last`, whole sequences, in place of their inputs."""
    gate = layer[3]
    carry = np.empty(2 * gate[0].shape[0], np.float32)
    _scan(u[first:last], first, last - first, steps, gate, index, state, kept, carry)


@numba.njit(cache=True, nogil=True)
def leave(first, last, x, layer, u):  # type: ignore[no-untyped-def]
    """What the block adds to rows `first` to `last` of x, from their states in u."""
    norm, _, _, _, output, skip, mix = layer
    normal = np.empty((TILE, skip.shape[0]), np.float32)
    y, g = np.empty((TILE, output[1].shape[0]), np.float32), np.empty((TILE, mix[1].shape[0]), np.float32)
    for row in range(first, last, TILE):
        rows = min(TILE, last - row)
        _normal(x, row, rows, norm, normal)
        _leave(x, row, rows, normal, u[row:last], output, skip, mix, y, g)


# -- everything else ----------------------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)
def linear(first, last, x, layer, out):  # type: ignore[no-untyped-def]
    """A linear map of rows `first` to `last`."""
    weight, bias = layer
    dense(x, first, last - first, weight, bias, out, first)


@numba.njit(cache=True, nogil=True)
def add_linear(first, last, x, layer, out):  # type: ignore[no-untyped-def]
    """Adds a linear map of rows `first` to `last` of x to those of `out`."""
    weight, bias = layer
    mapped = np.empty((TILE, bias.shape[0]), np.float32)
    width = out.shape[1]
    for row in range(first, last, TILE):
        rows = min(TILE, last - row)
        dense(x, row, rows, weight, bias, mapped, 0)
        for r in range(rows):
            values, added = out[row + r], mapped[r]
            for j in range(width):
                values[j] = values[j] + added[j]


@numba.njit(cache=True, nogil=True)
def norm(first, last, x, layer, out):  # type: ignore[no-untyped-def]
    """Layer norm of rows `first` to `last`."""
    gain, shift = layer
    normalise(x, first, last - first, gain, shift, out[first:last])


@numba.njit(cache=True, nogil=True)
def hidden(first, last, x, layer, out):  # type: ignore[no-untyped-def]
    """Norm and hidden layer, before its nonlinearity, of rows `first` to `last`."""
    (gain, shift), (weight, bias) = layer
    normal = np.empty((TILE, gain.shape[0]), np.float32)
    for row in range(first, last, TILE):
        rows = min(TILE, last - row)
        normalise(x, row, rows, gain, shift, normal)
        dense(normal, 0, rows, weight, bias, out, row)


@numba.njit(cache=True, nogil=True)
def mlp(first, last, x, layer, out):  # type: ignore[no-untyped-def]
    """Norm, hidden layer, activation, output layer, of rows `first` to `last`."""
    (gain, shift), (weight, bias), output = layer
    normal = np.empty((TILE, gain.shape[0]), np.float32)
    hidden = np.empty((TILE, bias.shape[0]), np.float32)
    for row in range(first, last, TILE):
        rows = min(TILE, last - row)
        normalise(x, row, rows, gain, shift, normal)
        dense(normal, 0, rows, weight, bias, hidden, 0)
        _activate(hidden, rows, bias.shape[0])
        dense(hidden, 0, rows, output[0], output[1], out, row)


_LN2 = math.log(2.0)
_TAYLOR = tuple(1.0 / math.factorial(k) for k in range(14))
_POWERS = 2.0 ** np.arange(-16, 17)


@numba.njit(cache=True, nogil=True)
def moments(first, last, params, limit, noise, z):  # type: ignore[no-untyped-def]
    """z = mean + exp(log scale) noise; params (rows, >= 2Z) hold means, then log scales, clamped to +-limit <= 10."""
    size = z.shape[1]
    for row in range(first, last):
        mean, log_scale, eps, result = params[row, :size], params[row, size:], noise[row], z[row]
        for j in range(size):
            wide = min(max(np.float64(log_scale[j]), -limit), limit)
            power = np.rint(wide * (1.0 / _LN2))
            rest = wide - power * _LN2
            total = _TAYLOR[13]
            for k in range(12, -1, -1):
                total = total * rest + _TAYLOR[k]
            scale = np.float32(total * _POWERS[np.int64(power) + 16])
            result[j] = mean[j] + scale * eps[j]
