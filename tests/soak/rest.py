"""What the service holds while nothing is asked of it: keys, open files, pending entries, running work."""

import asyncio
import time
from dataclasses import dataclass
from typing import cast

import psutil
import redis
from vssm_server import keys
from vssm_server.connect import connect
from vssm_server.fleet import REFRESH_SECONDS

from tests.soak.link import Link
from tests.soak.service import Target

WORK = ("vssm_requests_active", "vssm_requests_waiting", "vssm_requests_running")


@dataclass(frozen=True)
class Held:
    """At one moment. `files` of API and worker, those to Redis apart: a pool keeps as many as were needed at once."""

    keys: frozenset[str]
    endless: frozenset[str]  # keys that should expire, and never will
    files: int
    links: int
    jobs: int
    pending: int
    consumers: int
    working: float


def held(target: Target) -> Held:
    """Looks."""
    with connect(target.redis_url) as client:
        names = [name.decode() for name in client.scan_iter(count=1000) if isinstance(name, bytes)]
        endless = {name for name in names if client.pttl(name) == -1 and name not in keys.LASTING}
        links = cast("int", client.info("clients")["connected_clients"]) - 1
        files = sum(psutil.Process(pid).num_fds() for pid in (target.api, target.worker))
        return Held(
            keys=frozenset(names),
            endless=frozenset(endless),
            files=files - links,
            links=links,
            jobs=client.xlen(keys.JOBS),
            pending=_pending(client),
            consumers=len(client.xinfo_consumers(keys.JOBS, keys.GROUP)),
            working=sum(map(target.metric, WORK)),
        )


def _pending(client: "redis.Redis") -> int:
    found: dict[str, int] = client.xpending(keys.JOBS, keys.GROUP)
    return found["pending"]


def left(before: Held, now: Held) -> list[str]:
    """Everything that is there now and should not be."""
    more = sorted(now.keys - before.keys)
    found = [f"{len(more)} keys more than before: {', '.join(more[:5])}"] if more else []
    found += [f"{name} never expires" for name in sorted(now.endless)[:5]]
    if now.files > before.files:
        found.append(f"{now.files} open files instead of {before.files}")
    if now.consumers != before.consumers:
        found.append(f"{now.consumers} consumers instead of {before.consumers}")
    for what, amount in (("jobs", now.jobs), ("pending entries", now.pending), ("requests at work", now.working)):
        if amount:
            found.append(f"{amount:g} {what}")
    return found


def settle(target: Target, before: Held, seconds: float) -> tuple[list[str], Held, float]:
    """What is left after at most that time, what is held then, and how long it took."""
    began = time.monotonic()
    while True:
        now = held(target)
        found, passed = left(before, now), time.monotonic() - began
        if not found or passed > seconds:
            return found, now, round(passed, 1)
        time.sleep(0.5)


def rest(target: Target) -> Held:
    """What is held when each key has asked once and nothing is under way: what later is compared with.

    Of a key that has asked, Redis keeps rates and shares for ten minutes; that is not much, and does not grow.
    """
    for key in target.keys or (None,):
        asyncio.run(_greet(target, key))
    time.sleep(4 * REFRESH_SECONDS)  # until every process has told what it has counted
    now = held(target)
    while now.jobs or now.pending or now.working:
        time.sleep(0.2)
        now = held(target)
    return now


async def _greet(target: Target, key: str | None) -> None:
    link = Link(target.port, key)
    answer = await link.ask("POST", "/generate", {"model": "pixels", "length": 1})
    assert answer.status == 200, answer
    link.close()
