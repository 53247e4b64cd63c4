"""What a data set is: named splits of checksummed files, and how to read one split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vssm.data.files import DataFile


class Images(NamedTuple):
    """Grey images, uint8 (n, height, width) in 0..255, and their labels, uint8 (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """The files of each split, and `read`, which turns the raw bytes of one split's files into arrays."""

    title: str
    licence: str
    files: Mapping[str, tuple[DataFile, ...]]
    read: Callable[[list[bytes]], Images]
