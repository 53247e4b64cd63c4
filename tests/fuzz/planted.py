"""Decoders with defects, which the tests of the fuzzer have it find. Apart, as a process of its own imports them."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.decoders import Target

CORPUS = [b'{"a": 1, "b": [1, 2, 3]}' * 4]


def target(decode: Callable[[bytes], object], name: str = "planted") -> Target:
    """One that may refuse by a ValueError."""
    return Target(name, CORPUS, decode, (ValueError,), 1.0)


def deadly(_: Path) -> list[Target]:
    """Its process dies of an input, as of a mistake in compiled code."""

    def decode(data: bytes) -> None:
        if b"\xff" in data:
            os.kill(os.getpid(), signal.SIGSEGV)

    return [target(decode, "deadly")]


def sleeping(_: Path) -> list[Target]:
    """It waits for ever, and so cannot be interrupted by the processor's time."""

    def decode(data: bytes) -> None:
        if b"\xff" in data:
            time.sleep(1000)

    return [target(decode, "sleeping")]
