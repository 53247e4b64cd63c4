"""What must be true when the service has come to rest: against a single-process reference, and in Redis."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis
from vssm_server import keys

import vssm
from tests.chaos.client import Client, Ledger, Story, as_array


def wrong_values(story: Story, model: vssm.VSSM) -> int:
    """How many values the client was told that a single process makes otherwise."""
    state: Any = None
    wrong = 0
    for part in story.parts:
        prefix = None if part.prefix is None else np.asarray(part.prefix).reshape(len(part.prefix), -1)
        origin = {"num_samples": story.num_samples, "seed": story.seed} if state is None else {"state": state}
        made = model.generate(prefix=prefix, length=part.length, **origin)
        told = as_array(part.values).astype(made.values.dtype)
        state = made.state
        wrong += made.values.size if told.shape != made.values.shape else int((told != made.values).sum())
    return wrong


def compare(ledger: Ledger, folder: Path) -> tuple[int, int]:
    """Values compared and values wrong, over all stories."""
    models = {name: vssm.load(str(folder / name)) for name in {story.model for story in ledger.stories}}
    compared = sum(np.asarray(part.values).size for story in ledger.stories for part in story.parts)
    return compared, sum(wrong_values(story, models[story.model]) for story in ledger.stories)


async def finish_sessions(ledger: Ledger, urls: list[str]) -> None:
    """Looks at every session that is left, advances it by three steps more, and adds them to its story."""
    client = Client(urls, ledger, seed=2**40)  # no other client's, for its Idempotency-Keys come from it
    for story in [story for story in ledger.stories if story.session is not None]:
        await client.look(story)
        await client.advance(story, {"session_id": story.session}, None, length=3)
    await client.close()


def leaks(client: "redis.Redis", ledger: Ledger, urls: list[str], workers: int, quiet_seconds: float) -> list[str]:
    """Everything in Redis that should not be there, after a while of rest."""
    until = time.monotonic() + quiet_seconds
    while (found := _leaks(client, ledger, urls, workers)) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def _leaks(client: "redis.Redis", ledger: Ledger, urls: list[str], workers: int) -> list[str]:
    found = []
    if jobs := client.xlen(keys.JOBS):
        found.append(f"{jobs} jobs")
    if pending := client.xpending(keys.JOBS, keys.GROUP)["pending"]:
        found.append(f"{pending} pending entries")
    if (consumers := len(client.xinfo_consumers(keys.JOBS, keys.GROUP))) != workers:
        found.append(f"{consumers} consumers of {workers} workers")
    names = [name.decode() for name in client.scan_iter(count=1000) if isinstance(name, bytes)]
    found += [f"{name} never expires" for name in names if client.pttl(name) == -1 and name not in keys.LASTING]
    kept = {name for name in names if name.startswith(keys.session(""))}
    known = {keys.session(story.session) for story in ledger.stories if story.session is not None}
    found += [f"{name} is nobody's" for name in kept - known] + [f"{name} is gone" for name in known - kept]
    found += _busy(urls)
    return found


def _busy(urls: list[str]) -> list[str]:
    busy = []
    for url in urls:
        for line in httpx.get(f"{url}/metrics").text.splitlines():
            name, _, value = line.partition(" ")
            if name.split("{")[0] in ("vssm_requests_active", "vssm_requests_waiting") and float(value):
                busy.append(line)
    return busy


async def until_ready(urls: list[str]) -> None:
    """All APIs say so."""
    async with httpx.AsyncClient(timeout=5) as http:
        for url in urls:
            for _ in range(600):
                try:
                    if (await http.get(f"{url}/readyz")).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.1)
            else:
                raise TimeoutError(f"{url} is not ready")
