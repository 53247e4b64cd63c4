"""What being observed costs a request, in microseconds of processor time.

    python -m benchmarks.observing              prints JSON

parts      the pieces by themselves, in this process: the id of a request, a counter and a histogram of the metrics, the
           lines of the API and of the worker (text and JSON, written to a file), the whole layer around the application
service    two servers side by side, one that logs every request (`info`) and one that logs none (`warning`), asked in
           turns by the same clients: processor time of API and worker for a request, and requests per second, of all
           rounds together, as the system counts processor time in hundredths of a second

Without traces, as they are off unless an endpoint is set. The parts are medians over the rounds. The id and the metrics
are in both servers: they cannot be switched off, so only the parts tell what they take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import psutil
from starlette.types import Message, Receive, Scope, Send
from vssm_server import counters, logs, request_id
from vssm_server.api.access import Access
from vssm_server.journal import Journal
from vssm_server.messages import Done
from vssm_server.queue import Job
from vssm_server.settings import Settings
from vssm_server.tally import Tally

from benchmarks.load import Job as Asked
from benchmarks.load import Load
from benchmarks.machine import machine
from benchmarks.scaling import QUEUED, until_workers
from tests.chaos.cluster import Cluster, local_cluster

LEVELS = ("info", "warning")
BODY = json.dumps({"model": "mnist", "seed": 7})
LEAST_BYTES = 28 * 28
HEADERS = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json"), (b"content-length", b"30")]
SCOPE: Scope = {"type": "http", "method": "POST", "path": "/generate", "raw_path": b"/generate", "headers": HEADERS}
REQUEST = msgspec.structs.replace(
    QUEUED,
    id="gen_0123456789abcdef0123456789abcdef",
    model="mnist",
    seed=7,
    request_id="req_0123456789abcdef0123456789abcdef",
)
JOB = Job(b"1764064800000-0", REQUEST, 1)
DONE = Done(id=REQUEST.id, fingerprint="9de0", seed=7, position=28, values=None, queue_ms=1.25, generate_ms=3.5)


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a measurement of a server")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vssm-observing-") as name:
        found = {"parts_us": parts(Path(name), chosen.rounds), "service": service(Path(name), chosen)}
    print(json.dumps({**found, "machine": machine()}, indent=2))


def parts(folder: Path, rounds: int) -> dict[str, float]:
    """Microseconds of processor time of each."""
    tally, journal = Tally(), Journal(None)
    cheap: dict[str, Callable[[], object]] = {
        "request id": lambda: request_id.of(HEADERS),
        "counter": lambda: tally.add(counters.SESSIONS.of(counters.CREATED)),
        "histogram": lambda: tally.add_all(counters.REQUEST_SECONDS.of(0.0123, "mnist")),
    }
    found = {name: per_call(call, rounds) for name, call in cheap.items()}
    for form in ("text", "json"):
        with lines_into(folder / form, form):
            found[f"line of the worker, {form}"] = per_call(lambda: journal.ended(JOB, DONE), rounds)
            found[f"layer of the API with its line, {form}"] = around(rounds)
    return {name: round(value, 2) for name, value in found.items()}


def per_call(call: Callable[[], object], rounds: int, turns: int = 2000) -> float:
    """Median over rounds of many turns each."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(turns):
            call()
        times.append((time.process_time() - began) / turns * 1e6)
    return statistics.median(times)


def around(rounds: int, turns: int = 2000) -> float:
    """The application within its outermost layer, less the same application alone."""

    async def application(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def nowhere(_: Message) -> None:
        pass

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def timed(app: Callable[..., object]) -> float:
        began = time.process_time()
        for _ in range(turns):
            await app(SCOPE, nothing, nowhere)  # type: ignore[misc]
        return (time.process_time() - began) / turns * 1e6

    layered = Access(application)
    pairs = [(asyncio.run(timed(layered)), asyncio.run(timed(application))) for _ in range(rounds)]
    return statistics.median(whole - bare for whole, bare in pairs)


@contextmanager
def lines_into(path: Path, form: str) -> Iterator[None]:
    """Log lines of this process go into a file, in that form."""
    kept = os.dup(logs.STDERR)
    with path.open("wb") as file:
        os.dup2(file.fileno(), logs.STDERR)
        logs.start_logging(Settings.model_validate({"log_format": form}), "benchmark")
        try:
            yield
        finally:
            os.dup2(kept, logs.STDERR)
            os.close(kept)
            logging.getLogger().handlers.clear()


def service(folder: Path, chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of both servers."""
    rows: dict[str, list[dict[str, float]]] = {level: [] for level in LEVELS}
    with ExitStack() as stack:
        load, clusters = stack.enter_context(Load()), {}
        for level in LEVELS:
            (folder / level).mkdir()
            settings = {"LOG_LEVEL": level, "LOG_FORMAT": "text"}
            cluster = local_cluster(folder / level, "mnist", "everysec", 1, 1, settings, THREADS="1", **settings)
            clusters[level] = stack.enter_context(cluster)
            asyncio.run(until_workers(clusters[level], 1))
            measure(clusters[level], load, 1.0)  # warms up
        for number in range(chosen.rounds):
            for level in LEVELS if number % 2 else LEVELS[::-1]:
                rows[level].append(measure(clusters[level], load, chosen.seconds))
    return {level: together(rows[level]) for level in LEVELS}


def together(rows: list[dict[str, float]]) -> dict[str, float]:
    """Figures of all rounds of a server."""
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    cpu = {f"{name}_us": round(1e6 * total[name] / total["requests"], 1) for name in ("api", "worker")}
    return {"requests": total["requests"], "requests_per_second": round(total["requests"] / total["passed"], 1), **cpu}


def measure(cluster: Cluster, load: Load, seconds: float) -> dict[str, float]:
    """Eight clients for so long: answers, and seconds by the clock and of each process."""
    port = int(cluster.api_urls[0].rpartition(":")[2])
    before = used(cluster)
    report = load.measure(Asked(port, "application/x-npy", BODY, 8, seconds, LEAST_BYTES))
    after = used(cluster)
    cpu = {name: after[name] - before[name] for name in ("api", "worker")}
    return {"requests": len(report.latencies), "passed": report.passed, **cpu}


def used(cluster: Cluster) -> dict[str, float]:
    """Processor seconds of each process so far."""
    found = {}
    for node in cluster.nodes:
        assert node.process is not None
        times = psutil.Process(node.process.pid).cpu_times()
        found[node.name.partition("-")[0]] = times.user + times.system
    return found


if __name__ == "__main__":
    main()
