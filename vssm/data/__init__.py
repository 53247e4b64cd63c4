"""Data sets: real files with known checksums, downloaded once, read into numpy arrays.

A data set is a list of files (`DataFile`) and a function that reads them. This package knows nothing about
models or training. To add one, write a module beside `mnist` and register it in `DATASETS`. Data of one's own need no
code: the path of a file or folder stands for the name (`own`).

    images, labels = vssm.data.load_images("mnist", "test")
    series = vssm.data.load_series("measurements.csv", "train")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from vssm.data import cifar10, ett, mnist, own, text
from vssm.data.dataset import Data, Dataset, Images, Series, Text
from vssm.data.errors import DataError
from vssm.data.files import Report, data_folder, fetch

__all__ = [
    "DATASETS",
    "Data",
    "DataError",
    "Dataset",
    "Images",
    "Report",
    "Series",
    "Text",
    "data_folder",
    "dataset",
    "describe",
    "download",
    "load",
    "load_images",
    "load_series",
    "load_text",
    "splits",
]

DATASETS: dict[str, Dataset] = {
    "mnist": mnist.MNIST,
    "cifar10": cifar10.CIFAR10,
    "shakespeare": text.SHAKESPEARE,
    "etth1": ett.ETTH1,
}
Kind = TypeVar("Kind", Images, Text, Series)


def dataset(name: str, datasets: Mapping[str, Dataset] | None = None) -> Dataset:
    """Look up a data set by name.

    Raises: DataError naming the known data sets.
    """
    known = DATASETS if datasets is None else datasets
    if name not in known:
        raise DataError(
            f"unknown data set {name!r}: known are {', '.join(sorted(known))}, or give the path of your own: "
            "a .csv, .txt, .npy or .npz file, or a folder"
        )
    return known[name]


def splits(name: str) -> tuple[str, ...]:
    """The splits that a data set, or the file or folder at a path, has. Raises: DataError."""
    return own.splits(name) if _is_own(name) else tuple(dataset(name).files)


def describe(name: str) -> str:
    """What a data set is, in a line; one's own is read for it. Raises: DataError."""
    return own.describe(name) if _is_own(name) else dataset(name).title


def _is_own(name: str) -> bool:
    return name not in DATASETS and own.is_path(name)


def download(name: str, folder: Path | None = None, report: Report | None = None) -> list[Path]:
    """Make sure that all files of a data set are there, and return their verified paths.

    `folder` is the root of all data sets, by default `data_folder()`. `report` is called with
    (file name, bytes so far, bytes in all) while a file comes in.
    Raises: DataError when a file cannot be had or is not what it should be.
    """
    if _is_own(name):
        return [Path(name)]
    root = data_folder() if folder is None else folder
    chosen = dataset(name)
    files = dict.fromkeys(file for split in chosen.files.values() for file in split)
    return [fetch(file, root / chosen.folder, report).path for file in files]


def load(name: str, split: str, folder: Path | None = None, report: Report | None = None) -> Data:
    """Read one split ("train", "test", some have "validation") of a data set, downloading it first where needed.

    The path of a file or folder of one's own may stand for the name; see `vssm.data.own`.
    Raises: DataError when a file cannot be had or is not what it should be.
    """
    if _is_own(name):
        return own.load(name, split)
    chosen = dataset(name)
    if split not in chosen.files:
        raise DataError(f"{name} has no split {split!r}: choose from {', '.join(chosen.files)}")
    root = data_folder() if folder is None else folder
    contents = [fetch(file, root / chosen.folder, report).content for file in chosen.files[split]]
    return chosen.read(split, contents)


def load_images(name: str, split: str, folder: Path | None = None, report: Report | None = None) -> Images:
    """`load` for data sets of images: uint8 (n, height, width[, 3]) and labels uint8 (n,)."""
    return _only(Images, load(name, split, folder, report), name)


def load_text(name: str, split: str, folder: Path | None = None, report: Report | None = None) -> Text:
    """`load` for text: uint8 (n,)."""
    return _only(Text, load(name, split, folder, report), name)


def load_series(name: str, split: str, folder: Path | None = None, report: Report | None = None) -> Series:
    """`load` for series: float32 (n, channels) and the channels' names."""
    return _only(Series, load(name, split, folder, report), name)


def _only(kind: type[Kind], loaded: Data, name: str) -> Kind:
    if not isinstance(loaded, kind):
        raise DataError(f"{name} is a data set of {type(loaded).__name__.lower()}, not of {kind.__name__.lower()}")
    return loaded
