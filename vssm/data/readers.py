"""Readers of files of your own.

    .png .jpg ...   a folder of pictures of one size (subfolders too): grey if all are, else red, green, blue
    .npy            uint8 (n, height, width) or (n, height, width, 3): pictures; numbers (n,) or (n, channels): a series
    .npz            such arrays, named by their split
    .csv            a series: a row for each step; names in the first row and a first column of dates are optional
    .txt            text, as bytes

Nothing is guessed about damaged data: a missing or infinite number is an error that names its row and column.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vssm.data.dataset import Data, Images, Series, Text
from vssm.data.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_GREY = ("1", "L")


def read_pictures(folder: Path) -> Images:
    """All pictures below a folder, in the order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise DataError(f"{folder} has no pictures ({', '.join(PICTURES)}), and no files named train, validation, test")
    pictures = [_picture(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape[:2] != pictures[0].shape[:2]:
            sizes = [f"{p.shape[1]} x {p.shape[0]}" for p in (pictures[0], picture)]
            raise DataError(f"{paths[0]} is {sizes[0]} and {path} {sizes[1]}: make all pictures the same size")
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [np.stack([p] * 3, axis=-1) if p.ndim == 2 else p for p in pictures]
    return _images(np.stack(pictures))


def _picture(path: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L" if image.mode in _GREY else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no picture that can be read: {error}") from error


def read_npy(path: Path) -> Data:
    """Pictures or a series."""
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")  # takes no more memory than the file has bytes
    except OSError:
        raise
    except Exception as error:  # numpy has a dozen ways to refuse a damaged file
        raise DataError(f"{path} is not a .npy file of numbers: {error}") from error
    return _of_array(array, str(path))


def read_npz(path: Path, splits: Sequence[str]) -> Mapping[str, Data]:
    """The arrays named by splits."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if "train" not in stored or any(name not in splits for name in stored):
                allowed = f"an array train, and may have {', '.join(splits[1:])}"
                raise DataError(f"{path} must have {allowed}; it has {', '.join(stored) or 'none'}")
            return {name: _of_array(stored[name], f"{path}, {name}") for name in splits if name in stored}
    except DataError:
        raise
    except Exception as error:  # so have zipfile and its decompressors
        raise DataError(f"{path} is not a .npz file of numbers: {error}") from error


def _of_array(array: NDArray[np.generic], source: str) -> Data:
    if array.dtype == np.uint8 and (array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3)):
        return _images(array.astype(np.uint8))
    if array.dtype.kind in "iuf" and array.ndim in (1, 2) and array.size:
        values = array.reshape(len(array), -1)
        return _series(values, tuple(f"channel {i}" for i in range(values.shape[1])), source)
    raise DataError(
        f"{source} is {array.dtype} {array.shape}: pictures are uint8 (n, height, width) or (n, height, width, 3), "
        "a series is numbers (n,) or (n, channels)"
    )


def read_csv(path: Path) -> Series:
    """A series, without its dates."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error}") from error
    lines = text.splitlines()
    separator = max(",;\t", key=lines[0].count) if lines else ","
    rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    if not rows:
        raise DataError(f"{path} is empty: a row of numbers for each step is needed")
    names = None if all(_is_number(cell) for cell in rows[0][1:] or rows[0]) else rows.pop(0)
    if not rows:
        raise DataError(f"{path} has names, but no rows of numbers")
    skip = 1 if len(rows[0]) > 1 and not _is_number(rows[0][0]) else 0  # dates
    channels = names[skip:] if names else [f"channel {i}" for i in range(len(rows[0]) - skip)]
    values = [_numbers(row[skip:], channels, path, i) for i, row in enumerate(rows)]
    return _series(np.array(values), tuple(channels), str(path))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(row: Sequence[str], names: Sequence[str], path: Path, step: int) -> list[float]:
    if len(row) != len(names):
        raise DataError(f"{path}, step {step}: it has {len(row)} numbers, {len(names)} are needed")
    for cell, name in zip(row, names, strict=True):
        if not _is_number(cell):
            raise DataError(f"{path}, step {step}, {name!r}: {cell!r} is no number; fill gaps first")
    return [float(cell) for cell in row]


def _series(values: NDArray[np.generic], channels: tuple[str, ...], source: str) -> Series:
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        step, channel = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise DataError(f"{source}, step {step}, {channels[channel]!r}: {values[step, channel]} is not finite")
    return Series(numbers, channels)


def _images(images: NDArray[np.uint8]) -> Images:
    return Images(images, np.zeros(len(images), np.uint8))


def read_txt(path: Path) -> Text:
    """The bytes."""
    return Text(np.frombuffer(path.read_bytes(), np.uint8))


READERS: Mapping[str, Callable[[Path], Data]] = {".csv": read_csv, ".npy": read_npy, ".txt": read_txt}
