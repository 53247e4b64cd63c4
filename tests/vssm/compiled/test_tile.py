"""The product in register tiles: the sums in their order, and every row as if it were alone."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vssm.compiled.tile import dense, pack, pad

Floats = NDArray[np.float32]


def draw(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def product(x: Floats, weight: Floats, bias: Floats, x_row: int = 0, rows: int | None = None) -> Floats:
    rows = len(x) if rows is None else rows
    panels = pack(weight)
    out = np.full((rows, panels.shape[0] * 16), np.nan, np.float32)
    dense(x, x_row, rows, panels, pad(bias), out, 0)
    return out[:, : len(weight)]


@given(rows=st.integers(1, 30), inputs=st.integers(1, 70), outputs=st.integers(1, 70), spare=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_it_is_the_product(rows: int, inputs: int, outputs: int, spare: int) -> None:
    x, weight, bias = draw(0, rows, inputs + spare), draw(1, outputs, inputs), draw(2, outputs)
    expected = x[:, :inputs].astype(np.float64) @ weight.T.astype(np.float64) + bias
    assert np.allclose(product(x, weight, bias), expected, rtol=1e-4, atol=1e-5)


@given(rows=st.integers(1, 40), inputs=st.integers(1, 70), outputs=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_row_is_computed_as_if_alone(rows: int, inputs: int, outputs: int) -> None:
    x, weight, bias = draw(0, rows, inputs), draw(1, outputs, inputs), draw(2, outputs)
    together = product(x, weight, bias)
    alone = [product(x, weight, bias, row, 1)[0] for row in range(rows)]
    assert np.array_equal(together, np.stack(alone))


def rounded(value: Fraction) -> Fraction:
    """To the nearest float32: by way of float64 where that is exact, else by trying its neighbours."""
    near = np.float32(float(value))
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min((Fraction(float(c)) for c in candidates), key=lambda c: abs(c - value))


def test_each_input_is_one_fused_multiply_add_in_order() -> None:
    """Against exact fractions, rounded once after each: the same on any processor."""
    x, weight, bias = draw(3, 7, 19), draw(4, 17, 19), draw(5, 17)
    found = product(x, weight, bias)
    for row in range(7):
        for column in range(17):
            total = Fraction(float(bias[column]))
            for k in range(19):
                total = rounded(Fraction(float(x[row, k])) * Fraction(float(weight[column, k])) + total)
            assert float(total) == found[row, column]
