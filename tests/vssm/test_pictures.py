"""Pictures show the values where they belong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vssm.pictures import as_images, grid, png, side_by_side


def test_sequences_become_images_row_by_row() -> None:
    values = np.array([[[0, 1], [0.5, 2]], [[1, 0], [-1, 0.2]]])
    assert as_images(values, 2, 2).tolist() == [[[0, 255], [128, 255]], [[255, 0], [0, 51]]]
    assert as_images(values.reshape(2, 4, 1), 2, 2).tolist() == as_images(values, 2, 2).tolist()
    colours = np.arange(12).reshape(1, 2, 6) / 255
    assert as_images(colours, 2, 2, 3)[0, 1, 0].tolist() == [6, 7, 8]
    assert as_images(255 * colours, 2, 2, 3, white=255).tolist() == as_images(colours, 2, 2, 3).tolist()
    with pytest.raises(ValueError, match="2 steps of 2 values are not an image of 3 x 2 x 1"):
        as_images(values, 3, 2)


@pytest.mark.parametrize(("count", "columns", "rows_columns"), [(5, None, (2, 3)), (4, 4, (1, 4)), (1, 9, (1, 1))])
@pytest.mark.parametrize("colour", [(), (3,)])
def test_every_image_is_in_the_grid(
    count: int, columns: int | None, rows_columns: tuple[int, int], colour: tuple[int, ...]
) -> None:
    shape = (count, 4, 5, *colour)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    sheet = grid(images, columns)
    rows, across = rows_columns
    assert sheet.shape == (rows * 6 + 2, across * 7 + 2, *colour)
    for number, image in enumerate(images):
        top, left = 2 + number // across * 6, 2 + number % across * 7
        np.testing.assert_array_equal(sheet[top : top + 4, left : left + 5], image)


@pytest.mark.parametrize("colour", [(), (3,)])
def test_png_reads_back(colour: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 9, *colour)).astype(np.uint8)
    read = np.asarray(Image.open(io.BytesIO(png(image, scale=3))))
    assert read.shape == (18, 27, *colour)
    np.testing.assert_array_equal(read[1::3, 1::3], image)


def test_grids_stand_side_by_side_under_their_names() -> None:
    random = np.random.default_rng(0)
    grey, colour = random.integers(0, 200, (20, 90)), random.integers(0, 200, (30, 40, 3))
    sheets = {"a rival": grey.astype(np.uint8), "VSSM": colour.astype(np.uint8)}
    read = np.asarray(Image.open(io.BytesIO(side_by_side(sheets, scale=1))))
    assert read.shape[2] == 3
    np.testing.assert_array_equal(read[40:60, 12:102], np.repeat(grey[:, :, None], 3, 2))
    left = 12 + 90 + 12
    np.testing.assert_array_equal(read[40:70, left : left + 40], colour)
    assert (read[12:36, 12:102] < 128).any(), "the first has no title"
    assert (read[12:36, left:] < 128).any(), "the second has no title"
    assert (read[:12] == 255).all(), "the margin is not empty"
    with pytest.raises(ValueError, match="no grids"):
        side_by_side({})
