"""Data of your own: a file or folder whose path stands where the name of a data set would.

    measurements.csv              one file, or one folder of pictures: 80 % to train on, 10 % validation, 10 % test
    measurements/train.csv ...    a file for each split; train is needed, validation and test are welcome
    photos/train/ ...             a folder of pictures for each split
    photos.npz                    an array for each split, named train, validation, test

The first 80 % of a series or text are to train on and the last 10 % the test; pictures are put in an order that does
not depend on their names first. What may stand in a file, `readers` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from vssm.data.dataset import Data, Images, Series, Text
from vssm.data.errors import DataError
from vssm.data.readers import READERS, read_npz, read_pictures

SPLITS = ("train", "validation", "test")
_SHARES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
_ORDER_SEED = 0


def is_path(name: str) -> bool:
    """Whether a name that no data set has is meant as a path: something lies there, or it looks like one."""
    return Path(name).expanduser().exists() or bool(re.search(r"[/\\]|\.[a-z]{3}$", name))


def splits(name: str) -> tuple[str, ...]:
    """The splits that the data at a path have. Raises: DataError if there is nothing to read."""
    return tuple(_parts(Path(name).expanduser()))


def load(name: str, split: str) -> Data:
    """One split of the data at a path. Raises: DataError naming the file, what is wrong and what can be read."""
    parts = _parts(Path(name).expanduser())
    if split not in parts:
        raise DataError(f"{name} has no split {split!r}, it has {', '.join(parts)}; give {name}/{split} or so as well")
    return parts[split]()


def describe(name: str) -> str:
    """What is there, in a line."""
    loaded = {split: load(name, split) for split in splits(name)}
    sizes = ", ".join(f"{_count(part):,} {split}" for split, part in loaded.items())
    return f"{name}: {_kind(next(iter(loaded.values())))}: {sizes}"


def _parts(path: Path) -> Mapping[str, Callable[[], Data]]:
    """How to read each split that is there."""
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    if path.suffix == ".npz" and path.is_file():
        return {split: partial(_array, path, split) for split in read_npz(path, SPLITS)}
    if path.is_dir() and (named := _named(path)):
        return {split: partial(_read, part) for split, part in named.items()}
    return {split: partial(_share, path, split) for split in SPLITS}


def _array(path: Path, split: str) -> Data:
    return read_npz(path, SPLITS)[split]


def _named(folder: Path) -> dict[str, Path]:
    """The files or folders of a folder that are named like splits."""
    entries = sorted(entry for entry in folder.iterdir() if entry.is_dir() or entry.suffix in READERS)
    found: dict[str, Path] = {}
    for entry in entries:
        if (split := entry.name if entry.is_dir() else entry.stem) in SPLITS:
            if split in found:
                raise DataError(f"{folder} has both {found[split].name} and {entry.name}: leave one of them")
            found[split] = entry
    if found and "train" not in found:
        raise DataError(f"{folder} has {', '.join(e.name for e in found.values())}, but nothing named train")
    return {split: found[split] for split in SPLITS if split in found}


def _read(path: Path) -> Data:
    if path.is_dir():
        return read_pictures(path)
    if path.suffix not in READERS:
        raise DataError(
            f"{path}: a folder of pictures, {', '.join(READERS)} or .npz can be read, not {path.suffix or 'this'}"
        )
    try:
        return READERS[path.suffix](path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _share(path: Path, split: str) -> Data:
    data = _read(path)
    count = _count(data)
    first, last = (round(share * count) for share in _SHARES[split])
    if first == last:
        raise DataError(f"{path} has {count} {_unit(data)}, too few to split: none would be left for {split}")
    if isinstance(data, Series):
        return data._replace(values=data.values[first:last])
    if isinstance(data, Text):
        return data._replace(values=data.values[first:last])
    chosen = np.sort(np.random.default_rng(_ORDER_SEED).permutation(count)[first:last])
    return Images(data.images[chosen], data.labels[chosen])


def _count(data: Data) -> int:
    return len(data.images if isinstance(data, Images) else data.values)


def _unit(data: Data) -> str:
    return {Images: "pictures", Text: "bytes", Series: "steps"}[type(data)]


def _kind(data: Data) -> str:
    if isinstance(data, Images):
        height, width, *colours = data.images.shape[1:]
        return f"pictures of {height} x {width}, {'in colour' if colours else 'grey'}"
    if isinstance(data, Series):
        return f"a series of {len(data.channels)} channels ({', '.join(data.channels[:8])}), steps"
    return "text, bytes"
