"""The idx file format of MNIST: two zero bytes, a type, the number of dimensions, their sizes, the values.

Only unsigned bytes (type 8) are read; a file that is longer or shorter than its header says is refused.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from vssm.data.errors import DataError

_UNSIGNED_BYTE = 8


def read_idx(content: bytes) -> NDArray[np.uint8]:
    """Read a whole idx file of unsigned bytes into an array of the shape that its header gives.

    Raises: DataError when the bytes are not exactly one such file.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise DataError("not an idx file of unsigned bytes: it must begin with 00 00 08")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataError(f"idx file is truncated: {len(content)} bytes, its header alone takes {header}")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if len(content) != header + math.prod(shape):
        raise DataError(
            f"idx file of shape {shape} must have {header + math.prod(shape)} bytes, but has {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
