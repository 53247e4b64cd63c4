"""The client's end of a benchmark, as lean as it gets: its processor time is taken from the server it measures.

A process of its own, told what to do over its standard input: a `Job` as a line of JSON in, a `Report` out. It holds
`concurrency` connections (HTTP/1.1, kept alive); each asks again when it is answered, until the time is up. Every
answer's status and length are checked. Knows nothing of models, and imports neither torch nor numpy.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

FIRST = b"event: chunk"
DONE = b"event: done"
END = b"\r\n0\r\n\r\n"  # of a chunked body


class Job(msgspec.Struct):
    """One measurement; `body` is JSON, and an answer's body has at least `least_bytes`."""

    port: int
    accept: str
    body: str
    concurrency: int
    seconds: float
    least_bytes: int
    key: str | None = None  # an API key


class Report(msgspec.Struct):
    """Seconds: from the first request to the last answer, of every answer, and to every stream's first chunk."""

    passed: float
    latencies: list[float]
    first: list[float]


class Client(asyncio.Protocol):
    """One connection, with one request under way at any time."""

    def __init__(self, job: Job, until: float, report: Report) -> None:
        self.job = job
        self.until = until
        self.report = report
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.request = (
            f"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: {job.accept}\r\n"
            + (f"Authorization: Bearer {job.key}\r\n" if job.key else "")
            + f"Content-Length: {len(job.body)}\r\n\r\n{job.body}"
        ).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is registered as one only in name
        self.ask()

    def ask(self) -> None:
        self.answer = b""
        self.first = 0.0
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.answer += data
        if not self.first and FIRST in data:
            self.first = now
        try:
            complete = whole(self.answer, self.job.least_bytes)
        except ValueError as error:
            self.transport.close()
            self.ended.set_exception(error)
            return
        if complete:
            self.keep(now)

    def keep(self, now: float) -> None:
        self.report.latencies.append(now - self.began)
        if self.first:
            self.report.first.append(self.first - self.began)
        if now < self.until:
            self.ask()
        else:
            self.transport.close()
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server closed the connection"))


def whole(answer: bytes, least_bytes: int) -> bool:
    """Whether all of an answer is here. Raises ValueError if it is not the one that was expected."""
    head = answer.find(b"\r\n\r\n") + 4
    if head < 4:
        return False
    if answer[9:12] != b"200":
        raise ValueError(answer[:1000].decode(errors="replace"))
    place = answer.find(b"content-length: ", 0, head)
    if place < 0:
        complete, length = answer.endswith(END), len(answer) - head
        wanted = DONE in answer
    else:
        length = int(answer[place + 16 : answer.index(b"\r", place)])
        complete, wanted = len(answer) - head >= length, len(answer) - head <= length
    if complete and not (wanted and length >= least_bytes):
        raise ValueError(f"an answer of {length} bytes, not {least_bytes} or more: {answer[:500]!r}")
    return complete


async def run(job: Job) -> Report:
    """One measurement. Raises ValueError for the first answer that is not right."""
    report = Report(0.0, [], [])
    began = time.perf_counter()
    clients = [Client(job, began + job.seconds, report) for _ in range(job.concurrency)]
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.create_connection(lambda c=client: c, "127.0.0.1", job.port) for client in clients))  # type: ignore[misc]
    await asyncio.gather(*(client.ended for client in clients))
    report.passed = time.perf_counter() - began
    return report


class Load:
    """The process, from the side of the benchmark; runs while this is open."""

    def __enter__(self) -> Load:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def measure(self, job: Job) -> Report:
        """What it measured. Raises msgspec.DecodeError when it failed; it says why on its standard error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(job) + b"\n")
        self.process.stdin.flush()
        return msgspec.json.decode(self.process.stdout.readline(), type=Report)


def main() -> None:
    for line in sys.stdin.buffer:
        report = uvloop.run(run(msgspec.json.decode(line, type=Job)))
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
