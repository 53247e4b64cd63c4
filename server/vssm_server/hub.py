"""The API's end of the queue: one sender that pipelines, one listener that hands every reply to its waiter by id."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import redis
import redis.asyncio
from numpy.typing import NDArray

from vssm_server import counters, keys
from vssm_server.connect import Call, entries, run_each_async, script, whole_number
from vssm_server.errors import REDIS_AWAY, STATUS, Problem
from vssm_server.messages import Chunk, Done, Failure, Reply, Request, decode_reply, encode, steps_of
from vssm_server.quotas import Terms
from vssm_server.record import Known, Record
from vssm_server.seal import JOB, Seal, SealError, reply_to
from vssm_server.tally import Tally, send_async
from vssm_server.versions import Versions

BLOCK_MS = 1500
ALIVE_MS = 10_000
SILENT_SECONDS = 2  # an API process without a heartbeat for this long is not counted any more
GRACE_SECONDS = 2.0  # beyond the deadline: the worker decides it, at the commit
REVOKE_MS = 120_000  # beyond the deadline, for a request that may still be on its way to Redis
CANCEL_MS = 2_000  # beyond the deadline, which ends a job that nobody has told to stop
GRACE_MS = 60_000  # room for a session is kept this long beyond the deadline of who makes it

log = logging.getLogger(__name__)
Part = tuple[int, NDArray[np.generic]]  # position after it, values (num_samples, steps, size)


_TOO_SLOW = "The client reads slower than values are made, and too many wait for it; nothing was saved. Ask for less."


class Waiter:
    """Whoever waits for the replies to one request."""

    def __init__(self, request: Request, start: int, most_bytes: int = 2**62) -> None:
        self.request = request
        self._room = most_bytes  # for values that nobody has taken yet
        self.finished = False
        self.first: float | None = None  # time.perf_counter() of the first part
        self.queue_ms = 0.0  # from acceptance until a worker began, once there is a reply
        self.headers: dict[str, str] = {}  # RateLimit-* of its acceptance
        self._sent = start
        self._parts: deque[Part | Done | Failure] = deque()
        self._wake: asyncio.Future[None] | None = None  # of whoever is in `get`

    def put(self, reply: Reply) -> None:
        """Called by the listener. A job that was run again after a crash repeats chunks: each step passes once."""
        if not isinstance(reply, Failure):
            self.queue_ms, self.first = reply.queue_ms, self.first or time.perf_counter()
        if not isinstance(reply, Chunk):
            self.finished = True
            self._add(reply)
            return
        values = reply.values.unpack()
        repeated = max(0, self._sent - (reply.position - values.shape[1]))
        if self._room < 0:
            return  # the stream is lost already
        self._room -= values.nbytes
        if self._room < 0:
            self._add(Failure(self.request.id, "stream_lost", _TOO_SLOW, None, STATUS["stream_lost"]))
        elif repeated < values.shape[1]:
            self._sent = reply.position
            self._add((reply.position, values[:, repeated:]))

    def _add(self, part: Part | Done | Failure) -> None:
        self._parts.append(part)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def get(self) -> Part | Done:
        """The next part of a stream, or its end. Raises Problem."""
        timeout = self.request.timeout_ms / 1e3 + GRACE_SECONDS
        try:
            async with asyncio.timeout(timeout):
                while not self._parts:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
        except TimeoutError:
            raise Problem("deadline_exceeded", f"No worker answered within {timeout:g} seconds. Try again.") from None
        part = self._parts.popleft()
        if isinstance(part, Failure):
            raise Problem(part.type, part.message, part.param)
        if not isinstance(part, Done):
            self._room += part[1].nbytes
        return part


class Offer(NamedTuple):
    """A request on its way into the queue."""

    request: Request
    record: Record | None
    terms: Terms | None  # of its owner
    size: int  # bytes of the session that it makes


class Hub:
    """Sends requests and receives replies for one API process."""

    def __init__(
        self,
        client: "redis.asyncio.Redis",
        listener: "redis.asyncio.Redis",
        queue_limit: int,
        drain_seconds: Callable[[int], int],
        seal: Seal,
        share: Callable[[], int] = lambda: 1,
        stream_bytes: int = 2**62,
        tally: Tally | None = None,
        versions: Versions | None = None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.waiters: dict[str, Waiter] = {}
        self._redis = client
        self._listener = listener
        self._limit = queue_limit
        self._drain_seconds = drain_seconds
        self.seal = seal
        self._share = share
        self._most_bytes = stream_bytes
        self._tally = tally or Tally()
        self.versions = versions or Versions()
        self._enqueue = client.register_script(script("enqueue"))
        self._revoke = client.register_script(script("revoke", out_of_memory=True))
        self._beat = client.register_script(script("beat", out_of_memory=True))
        self._count = client.register_script(script("count", out_of_memory=True))
        self._outbox: list[tuple[Offer, asyncio.Future[object]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._last = b"0"
        self._read: list[bytes] = []  # entries that are to be deleted

    async def known(self, name: str) -> Known | None:
        """The request that was accepted with the Idempotency-Key of this name, if any."""
        digest, plan, answer = await self._redis.hmget(name, ["digest", "plan", "answer"])
        if digest is None:
            return None
        return Known(_bytes(digest), _bytes(plan), None if answer is None else _bytes(answer))

    async def submit(
        self, request: Request, start: int, record: Record | None = None, terms: Terms | None = None, size: int = 0
    ) -> Waiter | None:
        """Accepts a request whose sequences are at position `start`; None if its record is there already.

        `terms` are its owner's quotas, `size` the bytes of the session that it makes. Raises Problem (queue_full,
        quota_exceeded, storage_full) and redis.RedisError.
        """
        waiter = self.waiters[request.id] = Waiter(request, start, self._most_bytes)
        accepted: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._outbox.append((Offer(request, record, terms, size), accepted))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        answer: object = b"unknown"
        try:
            answer = await self._accept(request, record, accepted)
            if isinstance(answer, list) and terms is not None:
                answer = self._of_owner(waiter, terms, answer)
        finally:
            if answer != b"accepted":
                self.waiters.pop(request.id, None)
        if answer == b"full":
            message = f"{self._limit} requests are waiting. Try again after the seconds in Retry-After."
            raise Problem("queue_full", message, retry_after=self._drain_seconds(self._limit))
        return waiter if answer == b"accepted" else None

    def _of_owner(self, waiter: Waiter, terms: Terms, answer: list[Any]) -> bytes:
        """Raises Problem when a quota says no."""
        if answer[0] == b"quota":
            raise terms.refused(answer[1].decode(), answer[2], answer[3])
        waiter.headers = terms.headers(*answer[1:])
        return b"accepted"

    async def _accept(self, request: Request, record: Record | None, accepted: asyncio.Future[object]) -> object:
        """If Redis went away while a resume was sent, it may or may not be accepted: it is revoked before anything is
        answered, or a client that tries again would advance its session twice. A record makes that harmless."""
        try:
            return await accepted
        except redis.ResponseError:
            raise  # refused, so not accepted
        except (redis.RedisError, OSError):
            if not request.resume or record is not None:
                raise
            await self._take_back(request)
            return b"accepted"

    async def _take_back(self, request: Request) -> None:
        """Until Redis is back. What became of the request then comes as its reply."""
        failure = Failure(request.id, "redis_unavailable", REDIS_AWAY, None, STATUS["redis_unavailable"])
        names = [keys.cancel(request.id), keys.replies(self.id)]
        lasting_ms = request.timeout_ms + REVOKE_MS
        until = time.monotonic() + request.timeout_ms / 1e3
        while time.monotonic() < until:
            try:
                await self._revoke(keys=names, args=[lasting_ms, self.seal.close(reply_to(self.id), encode(failure))])
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
                answers = await self._send_batch([offer for offer, _ in batch])
            except (redis.RedisError, OSError) as error:
                answers = [error] * len(batch)
            for (_, accepted), answer in zip(batch, answers, strict=True):
                if accepted.done():
                    continue
                if isinstance(answer, Exception):
                    accepted.set_exception(answer)
                else:
                    accepted.set_result(answer)

    async def _send_batch(self, batch: "list[Offer]") -> list[object]:
        return await run_each_async(self._redis, self._enqueue, [self._call(offer) for offer in batch])

    def _call(self, offer: "Offer") -> Call:
        request, record, terms = offer.request, offer.record, offer.terms
        names = [keys.JOBS, keys.TOTALS, keys.BACKLOGGED, "" if record is None else record.name]
        sealed = self.seal.close(JOB, encode(request))
        args: list[int | str | bytes] = [self._limit, sealed, counters.REQUESTS.of(request.model)]
        if record is None:
            args += [request.id, b"", b"", 0]
        else:
            args += [request.id, record.digest, record.plan, request.timeout_ms + record.kept_ms]
        if terms is not None:
            made = "" if request.resume or request.session_id is None else request.session_id
            names += [keys.owner(terms.owner), keys.backlog(terms.owner), *keys.stored(terms.owner), keys.ACTIVE]
            args += [
                self._share(),
                int(request.stream),
                steps_of(request),
                made,
                offer.size,
                request.timeout_ms + GRACE_MS,
            ]
            args += [terms.requests_per_minute, terms.steps_per_minute, terms.concurrent_requests]
            args += [terms.open_streams, terms.stored_sessions, terms.stored_bytes]
        return names, args

    async def release(self, waiter: Waiter) -> None:
        """Nobody waits any more; if the work is not finished, workers are told to stop.

        A whole result with an Idempotency-Key is finished nevertheless: its client will ask again.
        """
        self.waiters.pop(waiter.request.id, None)
        kept = waiter.request.idempotency is not None and not waiter.request.stream
        if not waiter.finished and not kept:
            await asyncio.shield(self._cancel(waiter.request))

    async def _cancel(self, request: Request) -> None:
        with contextlib.suppress(redis.RedisError, OSError):
            await self._redis.set(keys.cancel(request.id), 1, px=request.timeout_ms + CANCEL_MS)

    async def listen(self) -> None:
        """Runs for ever: reads the reply stream, survives Redis' absence."""
        away = False
        while True:
            try:
                await self._receive()
                away = False
            except (redis.RedisError, OSError) as error:
                if not away:  # said once, not five times a second
                    log.warning("replies cannot be read: %s", error)
                away = True
                await asyncio.sleep(0.2)

    async def _receive(self) -> None:
        stream = keys.replies(self.id)
        async with self._listener.pipeline(transaction=False) as pipe:
            if self._read:
                pipe.xdel(stream, *self._read)
            pipe.xread({stream: self._last}, count=256, block=BLOCK_MS)
            received = entries((await pipe.execute())[-1])
        self._read = [entry for entry, _ in received]
        for entry, fields in received:
            self._last = entry
            try:
                reply = decode_reply(self.seal.open(reply_to(self.id), fields.get(b"reply", b"")))
            except (msgspec.MsgspecError, SealError) as error:
                log.error("a reply cannot be read: %s", error)
                continue
            if (waiter := self.waiters.get(reply.id)) is not None:
                if isinstance(reply, Done) and reply.session_version is not None:
                    self.versions.see(waiter.request.session_id or "", reply.session_version)
                waiter.put(reply)
                if isinstance(reply, Done):
                    model = waiter.request.model
                    self._tally.add_all(counters.QUEUE_SECONDS.of(reply.queue_ms / 1e3, model))

    async def beat(self) -> None:
        """Says that this API process is there, with what it has counted; its streams are dropped when it is not."""
        names = [keys.alive(self.id), keys.APIS]
        await self._beat(keys=names, args=[len(self.waiters), ALIVE_MS, self.id])
        await send_async(self._count, self._tally, self.id)

    async def totals(self) -> dict[str, int]:
        """Everything that is counted, by the names of `counters`. Raises redis.RedisError."""
        kept = await self._redis.hgetall(keys.TOTALS)
        return {_bytes(name).decode(errors="replace"): whole_number(amount) for name, amount in kept.items()}

    async def apis(self) -> list[int]:
        """How many requests wait for an answer at each API process that lives. Raises redis.RedisError."""
        seconds, _ = await self._redis.time()
        names = await self._redis.zrange(keys.APIS, seconds - SILENT_SECONDS, "+inf", byscore=True)
        beats = (
            await self._redis.mget(
                [keys.alive(name.decode(errors="replace")) for name in names if isinstance(name, bytes)]
            )
            if names
            else []
        )
        return [whole_number(beat) for beat in beats if beat is not None]

    async def close(self) -> None:
        """Removes what this process has in Redis."""
        with contextlib.suppress(redis.RedisError, OSError):
            await send_async(self._count, self._tally, self.id)
            await self._redis.delete(keys.alive(self.id), keys.replies(self.id), keys.counted(self.id))
            await self._redis.zrem(keys.APIS, self.id)


def _bytes(field: bytes | str | None) -> bytes:
    assert isinstance(field, bytes)
    return field
