"""One run: clients and faults at once, then the checks."""

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from vssm_server.connect import connect

from tests.chaos.checks import compare, finish_sessions, leaks, until_ready
from tests.chaos.client import Client, Ledger
from tests.chaos.cluster import Cluster
from tests.server.models import save_all


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
    signals: tuple[signal.Signals, ...] = (signal.SIGKILL, signal.SIGSTOP)


async def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """The report."""
    models = [path for path in save_all(folder) if path.name in ("pixels", "image", "series")]
    with Cluster(folder, models, plan.appendfsync) as cluster:
        await until_ready(cluster.api_urls)
        return await load_and_check(plan, cluster, folder)


async def load_and_check(plan: Plan, cluster: Cluster, folder: Path) -> dict[str, Any]:
    """Load and faults on a cluster that runs, then everything that must be true."""
    ledger, done = Ledger(), asyncio.Event()
    began = time.monotonic()
    clients = [Client(cluster.api_urls, ledger, plan.seed * 1000 + i, plan.keyed) for i in range(plan.clients)]
    if plan.rolling:
        faults = asyncio.create_task(cluster.roll(done, 6.0))
        await asyncio.gather(*(client.run(plan.requests, done) for client in clients))
    else:
        faults = asyncio.create_task(cluster.harass(done, plan.every_seconds, plan.signals, plan.seed))
        await asyncio.gather(*(client.run(plan.requests) for client in clients))
        done.set()
    await faults
    seconds = time.monotonic() - began
    await until_ready(cluster.api_urls)
    with connect(cluster.redis_url) as redis:
        left = leaks(redis, ledger, cluster.api_urls, len(cluster.workers))
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
