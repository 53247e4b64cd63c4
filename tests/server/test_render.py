"""What the API makes of a worker's bytes is what numpy makes of the array."""

import io

import numpy as np
import pytest
from vssm_server.api.render import npy
from vssm_server.messages import Array

SHAPES = [(1, 28, 28), (3, 0, 2), (2, 5, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_npy_is_what_numpy_saves(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    buffer = io.BytesIO()
    np.save(buffer, values)
    assert npy(Array.pack(values)) == buffer.getvalue()
