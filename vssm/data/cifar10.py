"""CIFAR-10: 50,000 training and 10,000 test images of ten kinds of things, 32 x 32 pixels, red, green, blue.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009. The files are those of the binary version:
records of a label and 1,024 values of each colour.
"""

from __future__ import annotations

import numpy as np

from vssm.data.dataset import Dataset, Images
from vssm.data.errors import DataError
from vssm.data.files import DataFile

_ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_RECORDS, _PIXELS = 10_000, 32 * 32


def _file(name: str, sha256: str) -> DataFile:
    member = f"cifar-10-batches-bin/{name}.bin"
    return DataFile(member, _RECORDS * (1 + 3 * _PIXELS), sha256, (_ARCHIVE,), archived=True)


def read(split: str, contents: list[bytes]) -> Images:
    """Read the raw bytes of batches."""
    if any(len(content) != _RECORDS * (1 + 3 * _PIXELS) for content in contents):
        raise DataError("is not a batch of 10,000 records of 3,073 bytes")
    records = np.concatenate([np.frombuffer(c, np.uint8).reshape(_RECORDS, -1) for c in contents])
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Images(np.ascontiguousarray(images), records[:, 0].copy())


CIFAR10 = Dataset(
    title="CIFAR-10, 50,000 training and 10,000 test images of 32 x 32 x 3",
    licence="published for research, without a licence",
    folder="cifar10",
    files={
        "train": (
            _file("data_batch_1", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
            _file("data_batch_2", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
            _file("data_batch_3", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
            _file("data_batch_4", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
            _file("data_batch_5", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
        ),
        "test": (_file("test_batch", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),),
    },
    read=read,
)
