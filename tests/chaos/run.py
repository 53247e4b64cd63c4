"""One run: clients and faults at once, then the checks."""

import asyncio
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vssm_server.connect import connect

from tests.chaos.checks import compare, finish_sessions, leaks, until_ready
from tests.chaos.client import MODELS, Client, Ledger
from tests.chaos.cluster import Cluster, local_cluster, remote_cluster
from tests.chaos.hosts import Hosts
from tests.server.models import save_all

ROLL_PAUSE_SECONDS = 5.0
CUT_SECONDS = (1.0, 4.0, 9.0)  # shorter and longer than a heartbeat lasts, longer than any time-out of a socket


@dataclass(frozen=True)
class Plan:
    """How hard and how long."""

    requests: int
    clients: int = 32
    every_seconds: float = 2.0
    seed: int = 0
    appendfsync: str = "always"
    rolling: bool = False
    keyed: bool = True
    victims: tuple[str, ...] = ("redis", "api", "worker")
    faults: int = 0  # clients go on until there were that many, whatever the machine's speed
    quiet_seconds: float = 60.0  # for leftovers to go
    signals: tuple[signal.Signals, ...] = (signal.SIGKILL, signal.SIGSTOP)


async def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Two APIs, two workers and Redis on this machine: the report."""
    with local_cluster(folder, save_models(folder), plan.appendfsync) as cluster:
        if plan.rolling:
            return await load_and_check(plan, cluster, folder, lambda *_: cluster.roll(ROLL_PAUSE_SECONDS))

        async def harass(enough: asyncio.Event, done: asyncio.Event) -> None:
            how = (plan.faults, plan.every_seconds, plan.signals, plan.victims, plan.seed)
            await cluster.harass(enough, done, *how)

        return await load_and_check(plan, cluster, folder, harass)


async def run_on_hosts(plan: Plan, folder: Path) -> dict[str, Any]:
    """Redis and API on one host, two workers on others; one is cut off again and again: the report."""
    with (
        Hosts(workers=2) as hosts,
        remote_cluster(folder, save_models(folder), hosts, secrets.token_hex(16)) as cluster,
    ):

        async def cut(*_: asyncio.Event) -> None:
            for seconds in CUT_SECONDS:
                await asyncio.sleep(2)
                await hosts.cut(0, seconds)

        report = await load_and_check(plan, cluster, folder, cut)
        felt = cluster.workers[0].log.read_text().count("Redis is away")
        return {**report, "passed": report["passed"] and felt > 0, "cut_seconds": CUT_SECONDS, "cuts_felt": felt}


def save_models(folder: Path) -> str:
    """The checkpoints that the clients ask for, as VSSM_MODELS."""
    return ",".join(str(path) for path in save_all(folder) if path.name in MODELS)


async def load_and_check(
    plan: Plan, cluster: Cluster, folder: Path, faults: Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]
) -> dict[str, Any]:
    """Load and faults on a cluster that runs, then everything that must be true.

    The clients go on until the faults have told that they were `enough`, or have ended; then those are told `done`.
    """
    await until_ready(cluster.api_urls)
    ledger, enough, done = Ledger(), asyncio.Event(), asyncio.Event()
    began = time.monotonic()
    clients = [Client(cluster.api_urls, ledger, plan.seed * 1000 + i, plan.keyed) for i in range(plan.clients)]
    trouble = asyncio.ensure_future(faults(enough, done))
    trouble.add_done_callback(lambda _: enough.set())
    await asyncio.gather(*(client.run(plan.requests, enough) for client in clients))
    done.set()
    await trouble
    ledger.violations += [text for node in cluster.nodes for text in node.complaints()]
    seconds = time.monotonic() - began
    await until_ready(cluster.api_urls)
    with connect(cluster.redis_url) as redis:
        left = leaks(redis, ledger, cluster.api_urls, len(cluster.workers), plan.quiet_seconds)
        await finish_sessions(ledger, cluster.api_urls)
    compared, wrong = compare(ledger, folder)
    sessions = sum(story.session is not None for story in ledger.stories)
    return {
        "passed": not (wrong or left or ledger.violations) and compared > 0,
        "requests": ledger.requests,
        "seconds": round(seconds, 1),
        "faults": {node.name: node.faults for node in cluster.nodes},
        "values_compared": compared,
        "values_wrong": wrong,
        "sessions_at_the_end": sessions,
        "cancelled": ledger.cancelled,
        "retries": dict(ledger.retries),
        "violations": ledger.violations[:20],
        "leaks": left[:20],
        "latency_seconds": {f"p{q}": round(float(np.percentile(ledger.seconds, q)), 3) for q in (50, 99, 100)},
    }
