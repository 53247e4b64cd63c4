"""Messages keep their content; broken ones are refused."""

import math

import msgspec
import numpy as np
import pytest
from vssm_server.messages import Array, Chunk, Done, Failure, decode_reply, decode_request, encode


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_arrays_survive(dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4)[:, ::-1] * 1.5).astype(dtype)
    back = msgspec.msgpack.decode(encode(Array.pack(array)), type=Array).unpack()
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_big_endian_is_turned() -> None:
    array = np.arange(5, dtype=">f4")
    assert np.array_equal(Array.pack(array).unpack(), array)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("object", (1,)),
        ("int64", (3,)),
        ("uint8", (-8, -1)),
        ("uint8", (-1,)),
        ("uint8", (2**62, 0)),
        ("uint8", (1,) * 9),
    ],
)
def test_bytes_that_do_not_fit_are_refused(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"dtype|shape"):
        Array(dtype, shape, b"x" * 8)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(encode([dtype, shape, b"x" * 8]), type=Array)


def test_replies_know_their_kind() -> None:
    values = Array.pack(np.zeros((1, 2, 3), np.uint8))
    done = Done(id="a", fingerprint="f", seed=1, position=2, values=None, queue_ms=0.5, generate_ms=1.0)
    for reply in (Chunk("a", 2, values), done, Failure("a", "no_worker", "m", None, 503)):
        assert decode_reply(encode(reply)) == reply


NO_TEXT = encode(Failure("a", "no_worker", "m", None, 503)).replace(b"no_worker", b"\xff" * 9)
DEEP = b"\x82\xa5event\xa7failure\xa1x" + b"\x91" * 100_000 + b"\x90"


@pytest.mark.parametrize("shape", [(5,), (), (0, 3), (2**40, 2**40, 0), (1,) * 4])
def test_values_have_three_dimensions(shape: tuple[int, ...]) -> None:
    data = encode({"event": "chunk", "id": "a", "position": 3, "values": ("uint8", shape, bytes(math.prod(shape)))})
    with pytest.raises(msgspec.ValidationError, match=r"dimensions|array of shape"):
        decode_reply(data)


@pytest.mark.parametrize(
    "change",
    [{"num_samples": 0}, {"num_particles": -1}, {"length": -1}, {"seed": -1}, {"prefix": ("uint8", (1,), b"1")}],
)
def test_requests_that_no_worker_can_begin_are_refused(change: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "id": "gen_a",
        "reply_to": "a",
        "model": "m",
        "num_samples": 1,
        "seed": 1,
        "length": 1,
        "prefix": None,
        "temperature": 1.0,
        "output": "sample",
        "stream": False,
        "session_id": None,
        "resume": False,
        "ttl_ms": None,
        "timeout_ms": 1000,
        "idempotency": None,
    }
    assert decode_request(encode(fields)).num_samples == 1
    with pytest.raises(msgspec.ValidationError):
        decode_request(encode(fields | change))


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", encode({"event": "chunk"}), encode({"event": "other", "id": "a"}), NO_TEXT, DEEP]
)
def test_broken_replies_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_reply(data)
