"""Data sets: real files with known checksums, downloaded once, read into numpy arrays.

A data set is a list of files (`DataFile`) and a function that reads them. This package knows nothing about
models or training. To add one, write a module beside `mnist` and register it in `DATASETS`.

    images, labels = vssm.data.load("mnist", "test")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vssm.data import mnist
from vssm.data.dataset import Dataset, Images
from vssm.data.errors import DataError
from vssm.data.files import Report, data_folder, fetch

__all__ = ["DATASETS", "DataError", "Dataset", "Images", "Report", "data_folder", "dataset", "download", "load"]

DATASETS: dict[str, Dataset] = {"mnist": mnist.MNIST}


def dataset(name: str, datasets: Mapping[str, Dataset] | None = None) -> Dataset:
    """Look up a data set by name.

    Raises: DataError naming the known data sets.
    """
    known = DATASETS if datasets is None else datasets
    if name not in known:
        raise DataError(f"unknown data set {name!r}: known are {', '.join(sorted(known))}")
    return known[name]


def download(name: str, folder: Path | None = None, report: Report | None = None) -> list[Path]:
    """Make sure that all files of a data set are there, and return their verified paths.

    `folder` is the root of all data sets, by default `data_folder()`. `report` is called with
    (file name, bytes so far, bytes in all) while a file comes in.
    Raises: DataError when a file cannot be had or is not what it should be.
    """
    root = data_folder() if folder is None else folder
    files = [file for split in dataset(name).files.values() for file in split]
    return [fetch(file, root / name, report).path for file in files]


def load(name: str, split: str, folder: Path | None = None, report: Report | None = None) -> Images:
    """Read one split ("train" or "test") of a data set, downloading it first where needed.

    Returns: Images(images uint8 (n, height, width), labels uint8 (n,)).
    Raises: DataError when a file cannot be had or is not what it should be.
    """
    chosen = dataset(name)
    if split not in chosen.files:
        raise DataError(f"{name} has no split {split!r}: choose from {', '.join(chosen.files)}")
    root = data_folder() if folder is None else folder
    return chosen.read([fetch(file, root / name, report).content for file in chosen.files[split]])
