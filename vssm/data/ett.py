"""ETTh1: two years of hourly measurements of an electricity transformer, 7 channels.

Zhou et al., "Informer", 2021. The usual splits: 12 months of 30 days to train on, 4 to validate,
4 to test; what the file has beyond those is not used.
"""

from __future__ import annotations

import csv

import numpy as np

from vssm.data.dataset import Dataset, Series
from vssm.data.errors import DataError
from vssm.data.files import DataFile

_FILE = DataFile(
    "ETTh1.csv",
    2589657,
    "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    ("https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",),
)
_MONTH = 30 * 24
_ROWS = {"train": (0, 12 * _MONTH), "validation": (12 * _MONTH, 16 * _MONTH), "test": (16 * _MONTH, 20 * _MONTH)}


def read(split: str, contents: list[bytes]) -> Series:
    """The rows of a split, without their dates."""
    names, *rows = csv.reader(contents[0].decode("ascii").splitlines())
    first, last = _ROWS[split]
    if len(rows) < last:
        raise DataError(f"has {len(rows)} rows of measurements, at least {last} are needed")
    return Series(np.array([row[1:] for row in rows[first:last]], np.float32), tuple(names[1:]))


ETTH1 = Dataset(
    title="ETTh1, hourly measurements of a transformer station: 8,640 training, 2,880 validation, 2,880 test rows",
    licence="CC BY-ND 4.0",
    folder="ett",
    files=dict.fromkeys(_ROWS, (_FILE,)),
    read=read,
)
