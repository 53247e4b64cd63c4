"""Redis clients, sync for the worker and async for the API, and the Lua scripts.

Commands are not retried by the client: sending a job twice would run it twice. redis-py drops a dead connection
before it uses it, so a Redis that came back is found at once.
"""

import asyncio
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any, cast

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript, Script
from redis.exceptions import NoScriptError
from redis.retry import Retry

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0  # of commands that block, longer than any BLOCK
PROMPT_SECONDS = 2.0  # of the others
MOST_LINKS = 64  # of a client for the event loop; whatever more is asked at once waits for one
LINK_SECONDS = 5.0  # for one to become free
TRIP_BYTES = 4 << 20  # most that goes out before answers are read
OWNERS = ("enqueue", "finish", "fork", "delete", "discard")  # scripts that begin with owners.lua

Call = tuple[list[str], list[int | str | bytes]]  # keys and arguments of a script


def connect(url: str) -> "redis.Redis":
    """A client for threads; connects on first use."""
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def connect_async(url: str, answer_seconds: float) -> "redis.asyncio.Redis":
    """A client for the event loop; connects on first use."""
    pool = Links.from_url(
        url,
        protocol=2,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
        max_connections=2**31,
    )
    return redis.asyncio.Redis.from_pool(pool)


class Links(redis.asyncio.ConnectionPool):
    """A pool of at most MOST_LINKS connections, in which whoever finds none waits, where redis-py's would refuse.

    redis-py's BlockingConnectionPool waits too, but loses a place for good when a request is cancelled while it gives
    its connection back; here the place is free before anything is awaited.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._places = asyncio.Semaphore(MOST_LINKS)
        self._given: set[AbstractConnection] = set()

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:
        """A connection, once one is free. Raises redis.ConnectionError after LINK_SECONDS without."""
        try:
            async with asyncio.timeout(LINK_SECONDS if self._places.locked() else None):
                await self._places.acquire()
        except TimeoutError:
            raise redis.ConnectionError("all connections to Redis are busy") from None
        connection: AbstractConnection | None = None
        try:
            connection = await super().get_connection()  # type: ignore[no-untyped-call]
            assert connection is not None
            self._given.add(connection)
            return connection
        finally:
            if connection is None:
                self._places.release()

    async def release(self, connection: AbstractConnection) -> None:
        """Its place is free; also called by the pool itself for one that it could not give."""
        if connection in self._given:
            self._given.remove(connection)
            self._places.release()
        await super().release(connection)


def script(name: str, out_of_memory: bool = False) -> str:
    """Source of `lua/<name>.lua`; `out_of_memory` lets it run when Redis has no memory left (Redis 7, Valkey)."""
    header = "#!lua flags=allow-oom\n" if out_of_memory else ""
    folder = resources.files("vssm_server") / "lua"
    shared = (folder / "owners.lua").read_text() if name in OWNERS else ""
    return header + shared + (folder / f"{name}.lua").read_text()


def run_each(client: "redis.Redis", calls: Sequence[tuple[Script, Call]]) -> list[object]:
    """Each script's answer or error, in few round trips; each call is atomic, together they are not.

    Raises redis.RedisError when Redis is away: some of the calls may have run then.
    """
    return [answer for trip in _trips(calls) for answer in _trip(client, trip)]


def _trip(client: "redis.Redis", calls: Sequence[tuple[Script, Call]]) -> list[object]:
    pipe = client.pipeline(transaction=False)
    for run, (names, args) in calls:
        pipe.evalsha(run.sha, len(names), *names, *args)
    answers = pipe.execute(raise_on_error=False)
    unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
    if unknown:  # Redis is new; these did not run
        for source in {calls[place][0].script for place in unknown}:
            client.script_load(source)
        for place, answer in zip(unknown, _trip(client, [calls[place] for place in unknown]), strict=True):
            answers[place] = answer
    return answers


def _trips(calls: Sequence[tuple[Script, Call]]) -> Iterator[Sequence[tuple[Script, Call]]]:
    """The same calls in portions of about TRIP_BYTES, so that nobody waits long for Redis or fills its buffers."""
    begin = size = 0
    for place, (_, (_, args)) in enumerate(calls):
        size += sum(len(arg) for arg in args if not isinstance(arg, int))
        if size > TRIP_BYTES:
            yield calls[begin : place + 1]
            begin, size = place + 1, 0
    if begin < len(calls):
        yield calls[begin:]


async def run_each_async(client: "redis.asyncio.Redis", run: AsyncScript, calls: Sequence[Call]) -> list[object]:
    """The script's answer or error for each of `calls`, in one round trip, for the event loop."""
    async with client.pipeline(transaction=False) as pipe:
        for names, args in calls:
            pipe.evalsha(run.sha, len(names), *names, *args)
        answers = await pipe.execute(raise_on_error=False)
    if any(isinstance(answer, NoScriptError) for answer in answers):
        await client.script_load(run.script)
        return await run_each_async(client, run, calls)
    return list(answers)


def whole_number(text: object) -> int:
    """A count as Redis has it; 0 for what is none: whoever can write there may have put anything in its place."""
    return int(text) if isinstance(text, bytes) and text.isdigit() and len(text) < 19 else 0


Entry = tuple[bytes, dict[bytes, bytes]]


def entries(answer: object) -> list[Entry]:
    """The entries in an answer of XREAD or XREADGROUP for one stream; none when it timed out."""
    streams = cast("list[tuple[bytes, list[Entry]]] | None", answer)
    return streams[0][1] if streams else []
