"""Saved states: their bytes, and everything that is not one."""

import json
import struct
from hashlib import blake2b

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vssm.models import build
from vssm import State, StateError

MODEL = build("rows")
BYTES = MODEL.generate(num_samples=3, length=4, seed=2**63 - 1).state.to_bytes()


def sealed(header: object, tensors: bytes, magic: bytes = b"VSSM", version: int = 1) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = struct.pack("<4sBI", magic, version, len(text)) + text + tensors
    return body + blake2b(body, digest_size=16).digest()


HEADER = {"fingerprint": "ab", "seed": 1, "position": 2, "encoder": True, "tensors": {"x": [2, 3]}}
DATA = bytes(24)


def test_bytes_give_the_same_state() -> None:
    state = State.from_bytes(BYTES)
    assert (state.seed, state.position, state.num_samples) == (2**63 - 1, 4, 3)
    assert state.to_bytes() == BYTES


def test_size_does_not_grow_with_the_position() -> None:
    later = MODEL.generate(state=State.from_bytes(BYTES), length=500).state
    assert abs(len(later.to_bytes()) - len(BYTES)) <= 4  # digits of the position


@given(cut=st.integers(0, len(BYTES) - 1))
@settings(max_examples=50, deadline=None)
def test_a_truncated_state_is_refused(cut: int) -> None:
    with pytest.raises(StateError):
        State.from_bytes(BYTES[:cut])


@given(place=st.integers(0, len(BYTES) - 1), flip=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_a_damaged_state_is_refused(place: int, flip: int) -> None:
    damaged = bytearray(BYTES)
    damaged[place] ^= flip
    with pytest.raises(StateError):
        State.from_bytes(bytes(damaged))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StateError):
        State.from_bytes(data)


def test_a_sealed_state_is_read() -> None:
    state = State.from_bytes(sealed(HEADER, DATA))
    assert torch.equal(state.tensors["x"], torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sealed(HEADER, DATA, magic=b"NOPE"), "not a saved state"),
        (sealed(HEADER, DATA, version=2), "version 2"),
        (sealed(b"{", DATA), "unreadable header"),
        (sealed(b"[" * 100_000, DATA), "unreadable header"),
        (sealed([1], DATA), "exactly the fields"),
        (sealed({**HEADER, "extra": 1}, DATA), "exactly the fields"),
        (sealed({**HEADER, "seed": "1"}, DATA), "exactly the fields"),
        (sealed({**HEADER, "seed": True}, DATA), "exactly the fields"),
        (sealed({**HEADER, "seed": 2**63}, DATA), "out of range"),
        (sealed({**HEADER, "position": -1}, DATA), "out of range"),
        (sealed({**HEADER, "tensors": {}}, b""), "no tensors"),
        (sealed({**HEADER, "tensors": {"x": [2, -3]}}, DATA), "malformed tensor shape"),
        (sealed({**HEADER, "tensors": {"x": [2, 3.0]}}, DATA), "malformed tensor shape"),
        (sealed({**HEADER, "tensors": {"x": [2**30, 2**30]}}, DATA), "bytes of tensors"),
        (sealed({**HEADER, "tensors": {"x": [2, 2], "y": [1, 2]}}, DATA), "disagree"),
        (sealed(HEADER, DATA[:-4]), "bytes of tensors"),
    ],
)
def test_malformed_states_are_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(StateError, match=message):
        State.from_bytes(data)


def test_a_well_formed_state_with_other_tensors_is_refused_by_the_model() -> None:
    state = State.from_bytes(sealed({**HEADER, "fingerprint": MODEL.fingerprint}, DATA))
    with pytest.raises(StateError, match="the model needs"):
        MODEL.generate(state=state, length=1)
