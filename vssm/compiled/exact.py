"""`vssm.exact` in compiled loops: the same operations in the same order, so the same bits."""

from __future__ import annotations

import numba
import numpy as np

from vssm.compiled.noise import polynomial
from vssm.exact import LN2, TAYLOR


@numba.njit(cache=True, nogil=True, error_model="numpy")
def limited_exp(x, limit):  # type: ignore[no-untyped-def]
    """`exact_exp` of a float32 number limited to +-`limit`, which is at most 80."""
    wide = min(max(np.float64(x), -limit), limit)
    power = np.rint(wide * (1.0 / LN2))
    return np.float32(polynomial(wide - power * LN2, TAYLOR) * 2.0 ** np.int64(power))
