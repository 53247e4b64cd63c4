"""Redis clients, sync for the worker and async for the API, and the Lua scripts.

Commands are not retried by the client: sending a job twice would run it twice. redis-py drops a dead connection
before it uses it, so a Redis that came back is found at once.
"""

from importlib import resources
from typing import cast

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0  # of commands that block, longer than any BLOCK
PROMPT_SECONDS = 2.0  # of the others


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
    return redis.asyncio.Redis.from_url(
        url,
        protocol=2,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer_seconds,
        retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
    )


def script(name: str, out_of_memory: bool = False) -> str:
    """Source of `lua/<name>.lua`; `out_of_memory` lets it run when Redis has no memory left (Redis 7, Valkey)."""
    header = "#!lua flags=allow-oom\n" if out_of_memory else ""
    return header + (resources.files("vssm_server") / "lua" / f"{name}.lua").read_text()


Entry = tuple[bytes, dict[bytes, bytes]]


def entries(answer: object) -> list[Entry]:
    """The entries in an answer of XREAD or XREADGROUP for one stream; none when it timed out."""
    streams = cast("list[tuple[bytes, list[Entry]]] | None", answer)
    return streams[0][1] if streams else []
