"""One HTTP/1.1 connection, as lean as it gets: a client's processor time is taken from the server it asks."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

LEAVINGS = (ConnectionError, asyncio.IncompleteReadError)
MOST_HEAD_BYTES = 2**20


@dataclass(frozen=True)
class Answer:
    """Of one request; `body` is whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Link:
    """A connection that is kept alive, and opened anew when it is not there. Used by one task at a time."""

    def __init__(self, port: int, key: str | None = None, host: str = "127.0.0.1") -> None:
        self.port = port
        self.host = host
        self.key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The whole answer. Raises one of LEAVINGS when the server closes the connection before that."""
        fresh = self._streams is None
        try:
            await self.send(method, path, body, headers)
            return await self.receive()
        except LEAVINGS:
            self.close()
            if fresh:
                raise
        return await self.ask(method, path, body, headers)  # it was idle for too long

    async def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        """Sends a request: bytes as they are, anything else as JSON."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        lines += ["Content-Type: application/json"] if content else []
        lines += [f"Authorization: Bearer {self.key}"] if self.key else []
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    async def write(self, data: bytes) -> None:
        """Sends bytes."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=MOST_HEAD_BYTES)
        self._streams[1].write(data)
        await self._streams[1].drain()

    async def receive(self) -> Answer:
        """The answer to what was sent."""
        assert self._streams is not None
        reader = self._streams[0]
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        status = int(head[0].split(" ")[1])
        body = await _body(reader, status, headers)
        if headers.get("connection") == "close":
            self.close()
        return Answer(status, headers, body)

    async def read(self, size: int) -> bytes:
        """Some bytes of what comes."""
        assert self._streams is not None
        return await self._streams[0].read(size)

    def close(self) -> None:
        """At once, without a word: what was sent and not read makes it a reset."""
        if self._streams is not None:
            with contextlib.suppress(Exception):
                self._streams[1].transport.abort()
            self._streams = None


async def _body(reader: asyncio.StreamReader, status: int, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(0 if status == 204 else int(headers.get("content-length", 0)))
    parts: list[bytes] = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)
