"""`State`: everything needed to continue a request's sequences, of constant size, and its bytes.

    bytes   magic "VSSM" | version u8 | header length u32 | header JSON | tensors, float32 | blake2b-128 of all before
    header  {"fingerprint", "seed", "position", "encoder", "tensors": {name: shape}}

Decoding is strict: every length, shape and number is checked before anything is built, and whatever is wrong is a
StateError. No pickle.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vssm.noise import MAX_POSITION, MAX_SEED

_MAGIC, _VERSION, _DIGEST = b"VSSM", 1, 16
_START = struct.Struct("<4sBI")


class StateError(ValueError):
    """A state that is malformed or was made by another model; the message says which."""


@dataclass(frozen=True)
class State:
    """The state of `num_samples` sequences after `position` steps; immutable.

    `tensors` holds one float32 tensor (num_samples, ...) a name, on the host. `encoder` tells whether the encoder has
    read all steps so far, which a further prefix needs.
    """

    fingerprint: str
    seed: int
    position: int
    encoder: bool
    tensors: dict[str, Tensor]

    @property
    def num_samples(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    @property
    def tensor_bytes(self) -> int:
        return sum(4 * t.numel() for t in self.tensors.values())

    def to_bytes(self) -> bytes:
        """The state as bytes, with a checksum."""
        header = json.dumps(
            {
                "fingerprint": self.fingerprint,
                "seed": self.seed,
                "position": self.position,
                "encoder": self.encoder,
                "tensors": {name: list(t.shape) for name, t in self.tensors.items()},
            }
        ).encode()
        tensors = [t.detach().cpu().contiguous().numpy().astype("<f4").tobytes() for t in self.tensors.values()]
        body = b"".join([_START.pack(_MAGIC, _VERSION, len(header)), header, *tensors])
        return body + blake2b(body, digest_size=_DIGEST).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """The state that `to_bytes` wrote; raises StateError for anything else."""
        if len(data) < _START.size + _DIGEST:
            raise StateError("a saved state is cut short")
        body, digest = data[:-_DIGEST], data[-_DIGEST:]
        if blake2b(body, digest_size=_DIGEST).digest() != digest:
            raise StateError("a saved state does not match its checksum: it is damaged or was cut short")
        magic, version, size = _START.unpack_from(body)
        if magic != _MAGIC:
            raise StateError("these bytes are not a saved state")
        if version != _VERSION:
            raise StateError(f"a saved state of version {version} cannot be read, only version {_VERSION}")
        header = _header(body[_START.size : _START.size + size])
        tensors = _tensors(header["tensors"], memoryview(body)[_START.size + size :])
        return cls(header["fingerprint"], header["seed"], header["position"], header["encoder"], tensors)


_FIELDS = {"fingerprint": str, "seed": int, "position": int, "encoder": bool, "tensors": dict}


def _header(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        raise StateError("a saved state has an unreadable header") from None
    if not isinstance(header, dict) or {k: type(v) for k, v in header.items()} != _FIELDS:
        raise StateError(f"a saved state's header must have exactly the fields {', '.join(_FIELDS)}")
    if not 0 <= header["seed"] <= MAX_SEED or not 0 <= header["position"] <= MAX_POSITION:
        raise StateError("a saved state has a seed or position out of range")
    return header


def _tensors(shapes: dict[str, Any], data: memoryview) -> dict[str, Tensor]:
    if not shapes:
        raise StateError("a saved state holds no tensors")
    for shape in shapes.values():
        if not isinstance(shape, list) or not shape or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise StateError("a saved state has a malformed tensor shape")
    counts = {name: math.prod(shape) for name, shape in shapes.items()}
    if 4 * sum(counts.values()) != len(data):
        raise StateError(f"a saved state holds {len(data)} bytes of tensors instead of {4 * sum(counts.values())}")
    if len({shape[0] for shape in shapes.values()}) != 1:
        raise StateError("a saved state's tensors disagree on the number of samples")
    tensors, start = {}, 0
    for name, shape in shapes.items():
        values = np.frombuffer(data, "<f4", counts[name], start).astype(np.float32)
        tensors[name] = torch.from_numpy(values).view(shape)
        start += 4 * counts[name]
    return tensors
