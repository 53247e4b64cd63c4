"""Files: checkpoints of any author, numpy's formats, API keys."""

import hashlib
import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from vssm_client.arrays import of_npy, to_npy
from vssm_server.keyring import Document, Key, KeyRing, KeysError, read

import vssm
from tests.fuzz.decoders import Target
from tests.server.models import KINDS, build
from vssm import checkpoint
from vssm.data.errors import DataError
from vssm.data.own import SPLITS
from vssm.data.readers import read_npy, read_npz


def targets(folder: Path) -> list[Target]:
    """All of them; checkpoints and data are read from the folder."""
    for kind in KINDS:
        vssm.save(build(kind), folder / kind)
    configs = [(folder / kind / "config.json").read_bytes() for kind in KINDS]
    weights = (folder / "image" / "model.safetensors").read_bytes()
    pictures, series = np.zeros((3, 4, 4), np.uint8), np.arange(6.0).reshape(3, 2)
    stored = [to_npy(array) for array in (pictures, series, np.ones(4, np.float32), np.zeros((2, 3, 1), np.int64))]
    document = msgspec.json.encode(Document(tuple(map(_key, ("alice", "bob")))))
    npy, npz = folder / "data.npy", folder / "data.npz"
    return [
        Target("config", configs, _kept(folder / "blind" / "config.json", _load), (vssm.CheckpointError,), 0.01),
        Target("weights", [weights], _kept(folder / "weights", _Weights()), (vssm.CheckpointError,), 0.04),
        Target("npy-answer", stored, of_npy, (ValueError,), 0.06),
        Target("npy-data", stored, _kept(npy, read_npy), (DataError,), 0.03),
        Target("npz-data", [_npz(series), _npz(pictures)], _kept(npz, _read_npz), (DataError,), 0.01),
        Target("keys", [document], lambda data: KeyRing(read(data)), (KeysError,), 0.03),
    ]


def _key(name: str) -> Key:
    digits = hashlib.sha256(name.encode()).hexdigest()
    year = datetime(2030, 1, 1, tzinfo=UTC)
    return Key(name=name, id=digits[:12], hash=digits, scopes=("generate", "admin"), created=year, expires=year)


def _kept(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """What reads a file that has these bytes."""

    def decode(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return decode


def _load(path: Path) -> object:
    return vssm.load(path.parent)


class _Weights:
    """Those of one model, whose networks are not built anew each time."""

    def __init__(self) -> None:
        self.expected = build("image").state_dict()

    def __call__(self, path: Path) -> object:
        return checkpoint._read_weights(path, self.expected)


def _read_npz(path: Path) -> object:
    return read_npz(path, SPLITS)


def _npz(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, train=array, test=array)
    return buffer.getvalue()
