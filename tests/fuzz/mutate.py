"""Bytes that are nearly right: what the code itself has made, changed a little. The same seed gives the same bytes."""

import random
from collections.abc import Callable, Sequence
from typing import Literal

MAX_BYTES = 1 << 16
_ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")
_NUMBERS = (
    0,
    1,
    2,
    7,
    127,
    128,
    255,
    256,
    32767,
    65535,
    *(2**bits - one for bits in (31, 32, 53, 63, 64) for one in (1, 0)),
)
_TEXTS = (
    *("-1", "0.5", "1e308", "1e999", "NaN", "-Infinity", "9" * 400),
    *("null", "true", "[]", "{}", '""', *'[]{}",:', "\\", "[" * 40),
    *("\\u0000", "\\ud800", "\x00", "\n", "\u00e9", "\U0001f600"),
)
_WORDS = (
    *(text.encode() for text in (*map(str, _NUMBERS), *_TEXTS)),
    *(b"\xff", b"\x80", b"\xc0\x80", b"\xed\xa0\x80"),  # no UTF-8
    *(b"\xdf\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8),  # a map of 2^32 - 1 fields, a number of 64 bits in msgpack
)
Change = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def mutate(corpus: Sequence[bytes], seed: int, number: int) -> bytes:
    """The input of that number: those of the corpus first, then one of them after one change or a few."""
    if number < len(corpus):
        return corpus[number]
    rng = random.Random(seed * 1_000_003 + number)
    data = bytearray(rng.choice(corpus))
    for _ in range(_count(rng)):
        rng.choice(CHANGES)(rng, data, corpus)
    return bytes(data[:MAX_BYTES])


def _count(rng: random.Random) -> int:
    """1 to 8, each half as often as the one before."""
    return 9 - (rng.getrandbits(8) | 1).bit_length()


def _place(rng: random.Random, data: bytearray, room: int = 0) -> int:
    """Anywhere; half of the time near the beginning, where formats have their heads."""
    last = max(0, len(data) - room)
    return rng.randint(0, min(last, 64) if rng.random() < 0.5 else last)


def _flip_bit(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[min(_place(rng, data), len(data) - 1)] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[min(_place(rng, data), len(data) - 1)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _truncate(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[_place(rng, data) :]


def _delete(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin = _place(rng, data)
    del data[begin : begin + rng.choice((1, 2, 4, 8, rng.randrange(1, 64)))]


def _insert(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    place = _place(rng, data)
    data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 8, rng.randrange(1, 64))))


def _word(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A word inserted, or put over what is there."""
    place, word = _place(rng, data), rng.choice(_WORDS)
    data[place : place + rng.choice((0, 1, len(word)))] = word


def _number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A length, or whatever else is a number of 1 to 8 bytes there."""
    size = rng.choice((1, 2, 4, 8))
    place, order = _place(rng, data, size), rng.choice(_ORDERS)
    value = rng.choice((rng.choice(_NUMBERS), len(data), rng.getrandbits(8 * size)))
    data[place : place + size] = (value % 256**size).to_bytes(size, order)


def _digits(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """Another number in place of one in decimal."""
    found = [place for place in range(len(data)) if 48 <= data[place] <= 57] if len(data) < 4096 else []
    if found:
        begin = rng.choice(found)
        end = begin
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        data[begin:end] = str(rng.choice(_NUMBERS)).encode()


def _repeat(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin = _place(rng, data)
    part = bytes(data[begin : begin + rng.randrange(1, 64)])
    data[begin:begin] = part * rng.choice((1, 2, 16, 200))


def _splice(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    """The beginning of this, and the end of another, or a part of another in between."""
    other = bytearray(rng.choice(corpus))
    begin, end, place = _place(rng, other), _place(rng, other), _place(rng, data)
    if rng.random() < 0.5:
        data[place:] = other[begin:]
    else:
        data[place:place] = other[min(begin, end) : max(begin, end)]


CHANGES: tuple[Change, ...] = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _truncate,
    _delete,
    _insert,
    _word,
    _word,
    _number,
    _number,
    _digits,
    _repeat,
    _splice,
)
