"""Server-sent events: chunks as they come, pings when nothing comes, and an end when the client has left."""

import asyncio
import codecs
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

import numpy as np
from fastapi import Response
from starlette.types import Receive, Scope, Send

from vssm_server.api.plan import Plan
from vssm_server.api.render import SSE, Values, dumps, flat, head, is_text, quantiles_of
from vssm_server.errors import Problem
from vssm_server.hub import Part, Waiter
from vssm_server.messages import Done

PING_SECONDS = 15.0
T = TypeVar("T")


class ClientLeft(Exception):  # noqa: N818
    """Nobody reads the answer any more."""


async def unless_left(work: Awaitable[T], receive: Receive, drop: Callable[[T], Awaitable[None]] | None = None) -> T:
    """The result of `work`. Raises ClientLeft, and cancels it, when the client closes the connection first.

    Work that ends all the same, as before Python 3.12 wait_for can lose a cancellation, has a result that nobody takes:
    `drop` is given it.
    """
    task, gone, over = asyncio.current_task(), False, False
    assert task is not None
    cancelled_before = task.cancelling()

    def interrupt(_: object) -> None:
        nonlocal gone
        if not over:
            gone = True
            task.cancel()

    left = asyncio.ensure_future(_disconnected(receive))
    left.add_done_callback(interrupt)
    try:
        result = await work
    except asyncio.CancelledError:
        if not gone or task.uncancel() > cancelled_before:  # somebody else wants it cancelled
            raise
        raise ClientLeft from None
    finally:
        over = True  # the callback may be on its way already: it cannot be removed then
        left.cancel()
    if gone:  # `work` took the cancellation with it
        task.uncancel()
        if drop is not None:
            await drop(result)
        raise ClientLeft
    return result


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Sends events while it watches for the client's leaving; `closed` runs in any case."""

    def __init__(
        self, events: AsyncGenerator[bytes], closed: Callable[[bool], Awaitable[None]], headers: dict[str, str]
    ) -> None:
        fixed = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(media_type=SSE, headers={**headers, **fixed})
        del self.headers["content-length"]
        self._events = events
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole stream."""
        left = False
        try:
            await unless_left(self._send(send), receive)
        except ClientLeft:
            left = True
        finally:
            try:
                await self._events.aclose()
            finally:
                await self._closed(left)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def with_pings(parts: AsyncIterator[bytes], seconds: float = PING_SECONDS) -> AsyncGenerator[bytes]:
    """The same events, with a comment whenever there was none for `seconds`."""
    upcoming: asyncio.Future[bytes] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(parts, b""))
            done, _ = await asyncio.wait({upcoming}, timeout=seconds)
            if not done:
                yield b": ping\n\n"
                continue
            event, upcoming = upcoming.result(), None
            if not event:
                return
            yield event
    finally:
        if upcoming is not None:
            upcoming.cancel()


async def events(
    plan: Plan, waiter: Waiter, first: Part | Done | None, began: float, failed: Callable[[Problem], None]
) -> AsyncIterator[bytes]:
    """The events of one request; `first` is its first part if that is here already."""
    texts = _Texts(plan)
    try:
        part = first or await waiter.get()
        while not isinstance(part, Done):
            yield _chunk(part, texts, plan)
            part = await waiter.get()
        yield event("done", dumps(head(plan, part, (time.perf_counter() - began) * 1e3)))
    except Problem as problem:
        failed(problem)
        yield event("error", dumps(problem.as_json()))


def _chunk(part: Part, texts: "_Texts", plan: Plan) -> bytes:
    position, values = part
    outputs = [{"index": index, "values": flat(row), **texts.of(index, row)} for index, row in enumerate(values)]
    return event(
        "chunk", dumps({"position": position, "outputs": outputs, **quantiles_of(values, plan)}), str(position)
    )


def event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    """One event on the wire; JSON has no line breaks."""
    head = f"event: {name}\n" + (f"id: {event_id}\n" if event_id is not None else "")
    return head.encode() + b"data: " + data + b"\n\n"


class _Texts:
    """Text of chunks: a character that is cut in two waits for its other half."""

    def __init__(self, plan: Plan) -> None:
        make = codecs.getincrementaldecoder("utf-8")
        count = plan.request.num_samples if is_text(plan.info) else 0
        self._decoders = [make(errors="replace") for _ in range(count)]

    def of(self, index: int, row: Values) -> dict[str, str]:
        if not self._decoders or row.dtype.kind == "f":
            return {}
        return {"text": self._decoders[index].decode(row.astype(np.uint8).tobytes())}
