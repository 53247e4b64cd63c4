"""Pictures: sequences as images, images in a grid, a grid as PNG. Nothing here knows about models."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_GAP = 2
_BACKGROUND = 96


def as_images(values: NDArray[Any], height: int, width: int, channels: int = 1, white: float = 1.0) -> Pixels:
    """Turn sequences (n, length, size) of values in 0..white into images uint8 (n, height, width[, 3]), row major.

    Raises: ValueError when the number of values is not that of such an image.
    """
    if values[0].size != height * width * channels:
        raise ValueError(
            f"{values.shape[1]} steps of {values.shape[2]} values are not an image of {height} x {width} x {channels}"
        )
    shape = (len(values), height, width) + ((channels,) if channels > 1 else ())
    scaled = np.clip(values.astype(np.float64) / white, 0, 1) * 255
    return np.rint(scaled).astype(np.uint8).reshape(shape)


def grid(images: Pixels, columns: int | None = None) -> Pixels:
    """Lay images uint8 (n, height, width[, 3]) out in rows; `columns` is about the square root of n by default."""
    count, height, width = images.shape[:3]
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    down, across = height + _GAP, width + _GAP
    sheet = np.full((rows * down + _GAP, columns * across + _GAP, *images.shape[3:]), _BACKGROUND, np.uint8)
    for number, image in enumerate(images):
        top, left = _GAP + number // columns * down, _GAP + number % columns * across
        sheet[top : top + height, left : left + width] = image
    return sheet


def png(image: Pixels, scale: int = 1) -> bytes:
    """Encode an image uint8 (height, width[, 3]) as PNG, every pixel a square of `scale` pixels."""
    enlarged = image.repeat(scale, 0).repeat(scale, 1)
    buffer = io.BytesIO()
    Image.fromarray(enlarged).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
