"""Clients that hold connections and do nothing with them, in a process of their own: `python -m tests.soak.idlers`."""

import asyncio
import contextlib
import json
import os
import resource
import socket
from typing import Annotated

import typer
import uvloop

AT_ONCE = 50  # connections that are being opened
SMALL = 4096  # bytes that the system keeps for who does not read
ONCE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BODY = {"model": "series", "length": 131_072, "num_samples": 2, "stream": True}  # ten megabytes of events


class Crowd:
    """All connections of this process. Whatever the server ends is opened again."""

    def __init__(self, port: int, source: str, slow: bool, key: str) -> None:
        self._port, self._source, self._slow, self._key = port, source, slow, key
        self.open = self.opened = 0
        self._room = asyncio.Semaphore(AT_ONCE)

    async def hold(self, number: int) -> None:
        """One connection, again and again."""
        while True:
            with contextlib.suppress(OSError), self._socket() as link:
                async with self._room:
                    await asyncio.get_running_loop().sock_connect(link, ("127.0.0.1", self._port))
                    await asyncio.get_running_loop().sock_sendall(link, self._first(number))
                self.open, self.opened = self.open + 1, self.opened + 1
                try:
                    await (_unread(link) if self._slow else _idle(link))
                finally:
                    self.open -= 1
            await asyncio.sleep(0.01)

    def _socket(self) -> socket.socket:
        link = socket.socket()
        link.setblocking(False)
        if self._slow:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        link.bind((self._source, 0))  # an address of its own has ports of its own
        return link

    def _first(self, number: int) -> bytes:
        """Half of the idle ones say nothing at all, the others have had an answer."""
        if not self._slow:
            return ONCE if number % 2 else b""
        body = json.dumps(BODY)
        lines = ["POST /generate HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}", *([f"Authorization: Bearer {self._key}"] if self._key else [])]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    async def tell(self) -> None:
        """Once a second, on standard output."""
        while True:
            print(json.dumps({"open": self.open, "opened": self.opened}), flush=True)
            await asyncio.sleep(1)


async def _idle(link: socket.socket) -> None:
    """Until the server ends it."""
    while await asyncio.get_running_loop().sock_recv(link, 65_536):
        pass


async def _unread(link: socket.socket) -> None:
    """Until the server cuts it off, which the system knows although nothing is read."""
    while not link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        await asyncio.sleep(0.5)


async def crowd(port: int, source: str, count: int, slow: bool, key: str) -> None:
    """For ever."""
    all_of_them = Crowd(port, source, slow, key)
    await asyncio.gather(all_of_them.tell(), *(all_of_them.hold(number) for number in range(count)))


def main(
    port: Annotated[int, typer.Option(help="Of the API.")],
    count: Annotated[int, typer.Option(help="Connections.")],
    source: Annotated[str, typer.Option(help="Address that they come from.")] = "127.0.0.1",
    slow: Annotated[bool, typer.Option(help="They ask for long streams and read nothing.")] = False,
) -> None:
    """Until it is killed; says once a second how many are open. The API key, if any, is SOAK_KEY."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(crowd(port, source, count, slow, os.environ.get("SOAK_KEY", "")))


if __name__ == "__main__":
    typer.run(main)
