"""Pictures: sequences as images, images in a grid, grids side by side, PNG. Nothing here knows about models."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

_GAP = 2
_BACKGROUND = 96
_MARGIN = 12
_TITLE = 16  # height of the letters, in pixels


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


def side_by_side(grids: Mapping[str, Pixels], scale: int = 2) -> bytes:
    """Put grids uint8 (height, width[, 3]) beside each other, each under its name, and encode them as PNG.

    Every pixel of a grid becomes a square of `scale` pixels; grey and coloured grids may be mixed.
    Raises: ValueError when there is no grid.
    """
    if not grids:
        raise ValueError("no grids: at least one is needed")
    font = ImageFont.load_default(_TITLE)
    panels = {name: Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)) for name, sheet in grids.items()}
    widths = [max(panel.width, math.ceil(font.getlength(name))) for name, panel in panels.items()]
    top = 2 * _MARGIN + _TITLE
    height = top + max(panel.height for panel in panels.values()) + _MARGIN
    canvas = Image.new("RGB", (sum(widths) + _MARGIN * (len(widths) + 1), height), "white")
    draw, left = ImageDraw.Draw(canvas), _MARGIN
    for (name, panel), width in zip(panels.items(), widths, strict=True):
        draw.text((left, _MARGIN), name, "black", font)
        canvas.paste(panel, (left, top))
        left += width + _MARGIN
    return png(np.asarray(canvas))
