"""What a data set is: named splits of checksummed files, and how to read one split; and what it is read into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vssm.data.files import DataFile


class Images(NamedTuple):
    """uint8 (n, height, width) grey or (n, height, width, 3) red, green, blue; labels uint8 (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Text(NamedTuple):
    """One run of bytes, uint8 (n,)."""

    values: NDArray[np.uint8]


class Series(NamedTuple):
    """Regular measurements in their own units, float32 (n, channels), oldest first, and the channels' names."""

    values: NDArray[np.float32]
    channels: tuple[str, ...]


Data = Images | Text | Series


@dataclass(frozen=True)
class Dataset:
    """The files of each split, and `read`, which turns the raw bytes of one split's files into arrays.

    Splits that share a file are told apart by the name that `read` is given. `folder` is where the files lie below the
    folder of all data sets.
    """

    title: str
    licence: str
    folder: str
    files: Mapping[str, tuple[DataFile, ...]]
    read: Callable[[str, list[bytes]], Data]
