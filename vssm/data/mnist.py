"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28 grey pixels.

LeCun, Cortes, Burges, "The MNIST database of handwritten digits". The checksums are those of the original
(uncompressed) idx files.
"""

from __future__ import annotations

from vssm.data.dataset import Dataset, Images
from vssm.data.errors import DataError
from vssm.data.files import DataFile
from vssm.data.idx import read_idx

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)


def _file(name: str, size: int, sha256: str) -> DataFile:
    return DataFile(name, size, sha256, tuple(f"{mirror}{name}.gz" for mirror in _MIRRORS))


def read(split: str, contents: list[bytes]) -> Images:
    """Read the raw bytes of an images file and a labels file."""
    images, labels = (read_idx(content) for content in contents)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(f"images {images.shape} and labels {labels.shape} do not belong together")
    return Images(images, labels)


MNIST = Dataset(
    title="MNIST handwritten digits, 60,000 training and 10,000 test images of 28 x 28",
    licence="CC BY-SA 3.0",
    folder="mnist",
    files={
        "train": (
            _file(
                "train-images-idx3-ubyte",
                47040016,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            _file(
                "train-labels-idx1-ubyte",
                60008,
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
        ),
        "test": (
            _file(
                "t10k-images-idx3-ubyte",
                7840016,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            _file(
                "t10k-labels-idx1-ubyte",
                10008,
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    },
    read=read,
)
