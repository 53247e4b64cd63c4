"""What more workers bring, what the transport alone carries, and what a worker's death costs.

    python -m benchmarks.scaling            writes benchmarks/results/scaling.json and .png

Workers: sequences per second with 1, 2 and 4 workers of one thread each, a model large enough to keep them busy, and
clients that always have requests waiting; and how busy each core was meanwhile.
Transport: the API's and the worker's end of the queue with nothing to compute, for both ways of syncing to disk.
Failover: a worker of two is killed again and again; how much later the replies come that it owed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import matplotlib
import matplotlib.pyplot as plt
import msgspec
import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table
from vssm_server.api.state import end_tasks
from vssm_server.connect import ANSWER_SECONDS, PROMPT_SECONDS, connect, connect_async
from vssm_server.hub import Hub
from vssm_server.messages import Array, Done, Request
from vssm_server.queue import End, Queue
from vssm_server.seal import Seal

import vssm
from benchmarks.machine import machine
from tests.chaos.checks import until_ready
from tests.chaos.cluster import Cluster, local_cluster

RESULTS = Path(__file__).parent / "results"
SAMPLES, LENGTH = 4, 256
LARGE = {
    "length": LENGTH,
    "size": 16,
    "observation": {"kind": "bernoulli"},
    "levels": [{"kind": "gaussian", "size": 32, "layers": 4}],
    "encoder": {"kind": "causal", "width": 64, "state": 64, "layers": 1},
    "decoder": {"width": 256, "state": 256},
}
SEAL = Seal(b"one key for both ends")
QUEUED = Request(
    id="",
    reply_to="",
    model="m",
    num_samples=1,
    seed=1,
    length=28,
    prefix=None,
    temperature=1.0,
    output="sample",
    stream=False,
    session_id=None,
    resume=False,
    ttl_ms=None,
    timeout_ms=60_000,
    idempotency=None,
)


def percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{q}_ms": 1e3 * float(np.percentile(seconds, q)) for q in (50, 99)}


# -- workers ----------------------------------------------------------------------------------------------------------


async def ask(http: httpx.AsyncClient, url: str, seed: int) -> None:
    body = {"seed": seed, "num_samples": SAMPLES, "length": LENGTH}
    answer = await http.post(f"{url}/generate", json=body, headers={"Accept": "application/x-npy"})
    answer.raise_for_status()


async def load(url: str, concurrency: int, seconds: float) -> list[tuple[float, float]]:
    """(start, latency) of every request of `concurrency` clients, each asking again when it is answered."""
    done: list[tuple[float, float]] = []
    until = time.monotonic() + seconds

    async def client(number: int, http: httpx.AsyncClient) -> None:
        while (began := time.monotonic()) < until:
            await ask(http, url, 1000 * number + len(done))
            done.append((began, time.monotonic() - began))

    async with httpx.AsyncClient(timeout=120) as http:
        await asyncio.gather(*(client(number, http) for number in range(concurrency)))
    return done


def used_seconds(cluster: Cluster) -> dict[str, float]:
    """CPU seconds of every process so far, this one too."""
    used = {}
    for node in cluster.nodes:
        assert node.process is not None
        times = psutil.Process(node.process.pid).cpu_times()
        used[node.name] = times.user + times.system
    own = psutil.Process().cpu_times()
    return {**used, "load": own.user + own.system}


def with_workers(count: int, folder: Path, seconds: float, concurrency: int) -> dict[str, Any]:
    """Throughput and CPU use of one cluster."""
    home = folder / f"workers-{count}"
    home.mkdir()
    with local_cluster(home, str(folder / "large"), "everysec", apis=1, workers=count) as cluster:
        asyncio.run(until_workers(cluster, count))
        asyncio.run(load(cluster.api_urls[0], concurrency, 3.0))
        before, began = used_seconds(cluster), time.monotonic()
        done = asyncio.run(load(cluster.api_urls[0], concurrency, seconds))
        passed = time.monotonic() - began
        cores = {name: (used - before[name]) / passed for name, used in used_seconds(cluster).items()}
    return {
        "workers": count,
        "sequences_per_second": SAMPLES * len(done) / passed,
        **percentiles([latency for _, latency in done]),
        "cores_used": {name: round(share, 2) for name, share in cores.items()},
    }


async def until_workers(cluster: Cluster, count: int) -> None:
    """All workers have a heartbeat."""
    await until_ready(cluster.api_urls)
    async with httpx.AsyncClient() as http:
        while (await http.get(f"{cluster.api_urls[0]}/readyz")).json()["workers"] < count:
            await asyncio.sleep(0.1)


# -- transport --------------------------------------------------------------------------------------------------------


def answer_at_once(url: str) -> None:
    """The worker's end with nothing to compute: takes jobs and commits 28 x 28 bytes for each, for ever."""
    queue = Queue(connect(url), f"null-{os.getpid()}", SEAL)
    queue.open()
    values = Array.pack(np.zeros((1, 28, 28), np.uint8))
    reply = Done(id="", fingerprint="f", seed=1, position=28, values=values, queue_ms=0.0, generate_ms=0.0)
    while True:
        for job in queue.wait(500) + queue.take(1, 256):
            queue.commit([End(job, msgspec.structs.replace(reply, id=job.request.id))])


async def through(url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """The API's end: `concurrency` requests under way at any time."""
    client, listener = connect_async(url, PROMPT_SECONDS), connect_async(url, ANSWER_SECONDS)
    hub = Hub(client, listener, 4096, lambda jobs: 1, SEAL)
    await hub.beat()
    listening = asyncio.create_task(hub.listen())
    latencies: list[float] = []
    until = time.monotonic() + seconds

    async def one(number: int) -> None:
        count = 0
        while (began := time.monotonic()) < until:
            request = msgspec.structs.replace(QUEUED, id=f"{number}-{count}", reply_to=hub.id)
            waiter = await hub.submit(request, 0)
            assert waiter is not None
            await waiter.get()
            await hub.release(waiter)
            latencies.append(time.monotonic() - began)
            count += 1

    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(concurrency)))
    passed = time.monotonic() - began
    await end_tasks([listening])
    await client.aclose()
    await listener.aclose()
    return {"concurrency": concurrency, "jobs_per_second": len(latencies) / passed, **percentiles(latencies)}


def transport(folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Both ways of syncing, three concurrencies each."""
    rows = []
    for appendfsync in ("everysec", "always"):
        home = folder / appendfsync
        home.mkdir()
        with local_cluster(home, "", appendfsync, apis=0, workers=0) as cluster:
            client = connect(cluster.redis_url)
            wait_for_redis(client)
            command = [sys.executable, "-m", "benchmarks.scaling", "--null-worker", cluster.redis_url]
            worker = subprocess.Popen(command)
            asyncio.run(through(cluster.redis_url, 8, 1.0))
            for concurrency in (1, 8, 64):
                figures = asyncio.run(through(cluster.redis_url, concurrency, seconds))
                rows.append({"appendfsync": appendfsync, **figures})
            worker.kill()
            worker.wait()
            client.close()
    return rows


def wait_for_redis(client: Any) -> None:
    for _ in range(100):
        try:
            client.ping()
            return
        except Exception:
            time.sleep(0.05)


# -- failover ---------------------------------------------------------------------------------------------------------


def failover(folder: Path, kills: int, concurrency: int) -> dict[str, Any]:
    """Two workers; one of them is killed `kills` times under load."""
    home = folder / "failover"
    home.mkdir()
    with local_cluster(home, str(folder / "large"), "everysec", apis=1, workers=2) as cluster:
        asyncio.run(until_workers(cluster, 2))
        calm = asyncio.run(load(cluster.api_urls[0], concurrency, 10.0))

        async def run() -> tuple[list[tuple[float, float]], list[float]]:
            times = []
            loading = asyncio.create_task(load(cluster.api_urls[0], concurrency, 15.0 * kills))
            for number in range(kills):
                await asyncio.sleep(4)
                times.append(time.monotonic())
                await cluster.workers[number % 2].fault(signal.SIGKILL)
                await asyncio.sleep(10)
            return await loading, times

        done, killed = asyncio.run(run())
    own = max(latency for _, latency in calm)
    hit = [[latency for began, latency in done if began <= moment < began + latency] for moment in killed]
    return {
        "kills": kills,
        "longest_reply_without_a_kill_ms": 1e3 * own,
        "longest_reply_at_each_kill_ms": [round(1e3 * max(latencies, default=0.0)) for latencies in hit],
        "longest_delay_ms": max(1e3 * (max(latencies, default=0.0) - own) for latencies in hit),
        "errors": 0,  # `ask` raises at the first
    }


# -- report -----------------------------------------------------------------------------------------------------------


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:,.1f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)


def plot(result: dict[str, Any], path: Path) -> None:
    matplotlib.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    workers = [row["workers"] for row in result["workers"]]
    speeds = [row["sequences_per_second"] for row in result["workers"]]
    left.bar([str(count) for count in workers], speeds, color="#4c72b0", width=0.55)
    for index, speed in enumerate(speeds):
        left.annotate(f"{speed:.0f}\n{speed / speeds[0]:.2f}x", (index, speed), ha="center", va="bottom")
    left.set(title=f"{result['machine']['cores']} cores", xlabel="workers of one thread", ylabel="sequences per second")
    left.set_ylim(0, 1.25 * max(speeds))
    for appendfsync, colour, offset in (("everysec", "#4c72b0", -2), ("always", "#dd8452", -11)):
        rows = [row for row in result["transport"] if row["appendfsync"] == appendfsync]
        at = [row["concurrency"] for row in rows]
        right.plot(at, [row["jobs_per_second"] for row in rows], "o-", color=colour, label=f"appendfsync {appendfsync}")
        for row in rows:
            text = f"p50 {row['p50_ms']:.1f}, p99 {row['p99_ms']:.1f} ms"
            right.annotate(
                text,
                (row["concurrency"], row["jobs_per_second"]),
                fontsize=7,
                xytext=(7, offset),
                textcoords="offset points",
            )
    right.set(title="transport alone", xlabel="requests under way", ylabel="jobs per second", xscale="log")
    right.set_xticks(at, [str(count) for count in at])
    right.minorticks_off()
    right.set_xlim(0.8, 350)
    right.set_ylim(0, 1.1 * max(row["jobs_per_second"] for row in result["transport"]))
    right.legend(frameon=False, loc="upper left")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement with workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--only", choices=["workers", "transport", "failover"])
    parser.add_argument("--null-worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.null_worker:
        answer_at_once(arguments.null_worker)
    torch.manual_seed(0)
    result: dict[str, Any] = {"machine": machine(), "samples": SAMPLES, "length": LENGTH}
    with tempfile.TemporaryDirectory(prefix="vssm-scaling-") as name:
        folder = Path(name)
        model = vssm.VSSM(vssm.ModelConfig.model_validate(LARGE)).eval()
        result["parameters"] = sum(p.numel() for p in model.parameters())
        vssm.save(model, folder / "large")
        if arguments.only in (None, "workers"):
            result["workers"] = [
                with_workers(count, folder, arguments.seconds, arguments.concurrency) for count in arguments.workers
            ]
            show("workers", result["workers"])
        if arguments.only in (None, "transport"):
            result["transport"] = transport(folder, 5.0)
            show("transport", result["transport"])
        if arguments.only in (None, "failover"):
            result["failover"] = failover(folder, arguments.kills, arguments.concurrency)
            show("failover", [result["failover"]])
    if arguments.only is None:
        (RESULTS / "scaling.json").write_text(json.dumps(result, indent=2) + "\n")
        plot(result, RESULTS / "scaling.png")
        print(f"wrote {RESULTS / 'scaling.json'} and .png")


if __name__ == "__main__":
    main()
