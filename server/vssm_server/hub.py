"""The API's end of the queue: one sender that pipelines, one listener that hands every reply to its waiter by id."""

import asyncio
import contextlib
import logging
import secrets
import time

import numpy as np
import redis
import redis.asyncio
from numpy.typing import NDArray

from vssm_server import keys
from vssm_server.connect import entries, script
from vssm_server.errors import REDIS_AWAY, STATUS, Problem
from vssm_server.messages import Chunk, Done, Failure, Reply, Request, decode_reply, encode

BLOCK_MS = 1500
ALIVE_MS = 10_000
GRACE_SECONDS = 2.0  # beyond the deadline: the worker decides it, at the commit
CANCEL_MS = 120_000

log = logging.getLogger(__name__)
Part = tuple[int, NDArray[np.generic]]  # position after it, values (num_samples, steps, size)


class Waiter:
    """Whoever waits for the replies to one request."""

    def __init__(self, request: Request, start: int) -> None:
        self.request = request
        self.finished = False
        self._sent = start
        self._parts: asyncio.Queue[Part | Done | Failure] = asyncio.Queue()

    def put(self, reply: Reply) -> None:
        """Called by the listener. A job that was run again after a crash repeats chunks: each step passes once."""
        if not isinstance(reply, Chunk):
            self.finished = True
            self._parts.put_nowait(reply)
            return
        values = reply.values.unpack()
        repeated = max(0, self._sent - (reply.position - values.shape[1]))
        if repeated < values.shape[1]:
            self._sent = reply.position
            self._parts.put_nowait((reply.position, values[:, repeated:]))

    async def get(self) -> Part | Done:
        """The next part of a stream, or its end. Raises Problem."""
        timeout = self.request.timeout_ms / 1e3 + GRACE_SECONDS
        try:
            part = await asyncio.wait_for(self._parts.get(), timeout)
        except TimeoutError:
            raise Problem("deadline_exceeded", f"No worker answered within {timeout:g} seconds. Try again.") from None
        if isinstance(part, Failure):
            raise Problem(part.type, part.message, part.param)
        return part


class Hub:
    """Sends requests and receives replies for one API process."""

    def __init__(self, client: "redis.asyncio.Redis", listener: "redis.asyncio.Redis", queue_limit: int) -> None:
        self.id = secrets.token_hex(8)
        self.waiters: dict[str, Waiter] = {}
        self._redis = client
        self._listener = listener
        self._limit = queue_limit
        self._enqueue = client.register_script(script("enqueue"))
        self._revoke = client.register_script(script("revoke"))
        self._outbox: list[tuple[Request, asyncio.Future[bool]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._last = b"0"

    async def submit(self, request: Request, start: int) -> Waiter:
        """Accepts a request whose sequences are at position `start`. Raises Problem (queue_full, redis_unavailable)."""
        waiter = self.waiters[request.id] = Waiter(request, start)
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._outbox.append((request, accepted))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        try:
            await self._accept(request, accepted)
        except BaseException:
            self.waiters.pop(request.id, None)
            raise
        return waiter

    async def _accept(self, request: Request, accepted: asyncio.Future[bool]) -> None:
        """If Redis went away while a resume was sent, it may or may not be accepted: it is revoked before anything is
        answered, or a client that tries again would advance its session twice."""
        try:
            if not await accepted:
                raise Problem("queue_full", f"{self._limit} requests are waiting. Try again after Retry-After seconds.")
        except redis.ResponseError:
            raise  # refused, so not accepted
        except (redis.RedisError, OSError):
            if not request.resume:
                raise
            await self._take_back(request)

    async def _take_back(self, request: Request) -> None:
        """Until Redis is back. What became of the request then comes as its reply."""
        failure = Failure(request.id, "redis_unavailable", REDIS_AWAY, None, STATUS["redis_unavailable"])
        names = [keys.cancel(request.id), keys.replies(self.id)]
        lasting_ms = request.timeout_ms + CANCEL_MS
        until = time.monotonic() + request.timeout_ms / 1e3
        while time.monotonic() < until:
            try:
                await self._revoke(keys=names, args=[lasting_ms, encode(failure)])
                return
            except (redis.RedisError, OSError):
                await asyncio.sleep(0.2)
        message = "Redis went away while the request was sent; look at the session's position before trying again."
        raise Problem("deadline_exceeded", message, "session_id")

    async def _send(self) -> None:
        """What gathers while one round trip is under way goes together in the next."""
        while self._outbox:
            batch, self._outbox = self._outbox, []
            try:
                answers = await self._send_batch([request for request, _ in batch])
            except (redis.RedisError, OSError) as error:
                answers = [error] * len(batch)
            for (_, accepted), answer in zip(batch, answers, strict=True):
                if accepted.done():
                    continue
                if isinstance(answer, Exception):
                    accepted.set_exception(answer)
                else:
                    accepted.set_result(answer is not None)

    async def _send_batch(self, requests: list[Request]) -> list[object]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for request in requests:
                await self._enqueue(keys=[keys.JOBS], args=[self._limit, encode(request)], client=pipe)
            return list(await pipe.execute(raise_on_error=False))

    async def release(self, waiter: Waiter) -> None:
        """Nobody waits any more; if the work is not finished, workers are told to stop."""
        self.waiters.pop(waiter.request.id, None)
        if not waiter.finished:
            with contextlib.suppress(redis.RedisError, OSError):
                await self._redis.set(keys.cancel(waiter.request.id), 1, px=CANCEL_MS)

    async def listen(self) -> None:
        """Runs for ever: reads the reply stream, survives Redis' absence."""
        while True:
            try:
                await self._receive()
            except (redis.RedisError, OSError) as error:
                log.warning("replies cannot be read: %s", error)
                await asyncio.sleep(0.2)

    async def _receive(self) -> None:
        stream = keys.replies(self.id)
        answer = await self._listener.xread({stream: self._last}, count=256, block=BLOCK_MS)
        received = entries(answer)
        for entry, fields in received:
            self._last = entry
            reply = decode_reply(fields[b"reply"])
            if (waiter := self.waiters.get(reply.id)) is not None:
                waiter.put(reply)
        if received:
            await self._redis.xdel(stream, *[entry for entry, _ in received])

    async def beat(self) -> None:
        """Says that this API process is there; its streams are dropped when it is not."""
        await self._redis.set(keys.alive(self.id), 1, px=ALIVE_MS)

    async def close(self) -> None:
        """Removes what this process has in Redis."""
        with contextlib.suppress(redis.RedisError, OSError):
            await self._redis.delete(keys.alive(self.id), keys.replies(self.id))
