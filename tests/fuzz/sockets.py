"""HTTP as nobody should speak it, on plain sockets: one family of abuse after the other, many connections at a time.

Whatever comes: an answer is 4xx with the one error body or belongs to a request that was right, the connection is ended
in time, and afterwards the server is as well as before.
"""

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

BOUNDS: dict[str, object] = dict.fromkeys(("header_seconds", "body_seconds", "idle_seconds", "read_seconds"), 1)
LONGEST = 8.0  # until a connection has ended, the server's answer and its busy machine included
AT_ONCE = 64
_HEAD = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH = re.compile(rb"^content-length: (\d+)\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Talk:
    """What one connection sends: parts, with a pause after each; how it ends then; what may be answered."""

    parts: tuple[bytes, ...]
    pause: float = 0.0
    end: str = "wait"  # for the server to close it; or "half" (nothing more is sent), "close", "reset"
    most_answers: int = 1
    hear: int = 0  # bytes to hear before the end


@dataclass
class Outcome:
    """Of a family."""

    connections: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


async def abuse(port: int, make: Callable[[random.Random, int], Talk], connections: int, seed: int) -> Outcome:
    """So many connections of a family."""
    outcome, places = Outcome(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        talk = make(random.Random(seed * 1_000_003 + number), number)
        async with places:
            began = time.monotonic()
            try:
                heard = await asyncio.wait_for(_talk(port, talk), 2 * LONGEST)
            except TimeoutError:
                heard = b""
            seconds = time.monotonic() - began
        outcome.connections += 1
        outcome.slowest_seconds = max(outcome.slowest_seconds, seconds)
        outcome.statuses.update(str(status) for status, _ in answers(heard))
        if (wrong := _wrong(talk, heard, seconds)) and len(outcome.failures) < 20:
            outcome.failures.append(
                f"{wrong}; connection {number}, sent {b''.join(talk.parts)[:300]!r}, heard {heard[:300]!r}"
            )

    await asyncio.gather(*(one(number) for number in range(connections)))
    return outcome


async def _talk(port: int, talk: Talk) -> bytes:
    """All that was heard until the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = asyncio.ensure_future(_hear(reader, talk))
    try:
        with contextlib.suppress(ConnectionError):
            for part in talk.parts:
                if writer.is_closing() or (talk.pause and heard.done()):
                    break
                writer.write(part)
                await writer.drain()
                if talk.pause:
                    await asyncio.wait({heard}, timeout=talk.pause)
            if talk.end == "half":
                writer.write_eof()
        if talk.hear:
            await asyncio.wait({heard}, timeout=LONGEST)
        if talk.end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if talk.end in ("close", "reset"):
            writer.transport.abort() if talk.end == "reset" else writer.close()
            return heard.result() if heard.done() else b""
        return await heard
    finally:
        heard.cancel()
        writer.close()


async def _hear(reader: asyncio.StreamReader, talk: Talk) -> bytes:
    """Until the end, or as much as the talk wants to hear."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65536):
            data += more
            if talk.hear and len(data) >= talk.hear:
                break
    return data


def answers(heard: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer, without those that say to go on."""
    found, place = [], 0
    while (head := _HEAD.search(heard, place)) is not None:
        length = _LENGTH.search(head[2])
        place = head.end() + (int(length[1]) if length else 0)
        found.append((int(head[1]), heard[head.end() : place]))
    return [(status, body) for status, body in found if status != 100]


def _wrong(talk: Talk, heard: bytes, seconds: float) -> str:
    """What is wrong with an exchange; nothing, mostly."""
    found = answers(heard)
    if seconds > LONGEST:
        return f"it took {seconds:.1f} s"
    if any(status >= 500 and status not in (503, 504) for status, _ in found):
        return "a server error"
    if len(found) > talk.most_answers:
        return f"{len(found)} answers, at most {talk.most_answers} are right"
    if talk.end in ("half", "wait") and not all(status < 400 or _is_error(status, body) for status, body in found):
        return "an error without the body of errors"
    return ""


def _is_error(status: int, body: bytes) -> bool:
    """Whether this is the one body of errors; HEAD is answered without."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError):
        return False
    return bool(error["code"] == status and error["message"])
