"""Whether one API key's flood slows another down: its latency while the flood's key behaves, and while it floods.

    python -m benchmarks.fairness           writes benchmarks/results/fairness.json

One worker, one API, two keys that send the same requests. `calm`: each keeps 8 requests under way, which keeps the
worker busy. `flood`: one keeps 400 under way instead. The other's median latency may at most double; `anonymous` is the
control, the same two clients without keys, who stand in one line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psutil
from vssm_server.keyring import Document, make
from vssm_server.quotas import Quotas

from benchmarks.load import Job, Load, Report
from benchmarks.machine import machine
from tests.e2e.serving import Serve

RESULTS = Path(__file__).parent / "results"
CALM, FLOOD = 8, 400
BODY = {"model": "mnist", "num_samples": 4}


def measure(
    serve: Serve, mine: str | None, other: str | None, other_at_once: int, seconds: float
) -> tuple[float, float]:
    """Median latency (ms) of a key with CALM requests under way beside another; CPU time of the API (us a request)."""
    reports: list[Report] = []
    api = api_process(serve)
    before = sum(api.cpu_times()[:2])
    with Load() as flood, Load() as load:
        beside = threading.Thread(
            target=lambda: reports.append(flood.measure(job(serve, other, other_at_once, seconds + 2)))
        )
        beside.start()
        time.sleep(1)
        report = load.measure(job(serve, mine, CALM, seconds))
        beside.join()
    requests = len(report.latencies) + len(reports[0].latencies)
    return 1e3 * statistics.median(report.latencies), 1e6 * (sum(api.cpu_times()[:2]) - before) / requests


def api_process(serve: Serve) -> psutil.Process:
    """The one that answers."""
    assert serve.process is not None
    own = psutil.Process(serve.process.pid)
    return own if "api" in own.cmdline() else serve.child("api")


def job(serve: Serve, key: str | None, at_once: int, seconds: float) -> Job:
    """One client's part."""
    return Job(serve.client.base_url.port or 0, "application/x-npy", json.dumps(BODY), at_once, seconds, 1, key)


def main() -> None:
    """Rounds that alternate; medians of their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    free = Quotas(concurrent_requests=0)
    (alice, mine), (bob, other) = (make(name, ("generate",), None, free) for name in ("alice", "bob"))
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        keys = msgspec.json.encode(Document((alice, bob))).decode()
        serve = Serve(Path(folder), models="mnist", api_keys=keys).start()
        ends.callback(serve.stop)
        anonymous = serve.beside(api_keys="")
        ends.callback(anonymous.stop)
        while not anonymous.ready():
            time.sleep(0.1)
        for _ in range(options.rounds):
            for name, at, own, others, at_once in (
                ("calm", serve, mine, other, CALM),
                ("flood", serve, mine, other, FLOOD),
                ("anonymous calm", anonymous, None, None, CALM),
                ("anonymous flood", anonymous, None, None, FLOOD),
            ):
                found.setdefault(name, []).append(measure(at, own, others, at_once, options.seconds))
    medians = {name: round(statistics.median(ms for ms, _ in values), 1) for name, values in found.items()}
    cpu = {name: round(statistics.median(us for _, us in values)) for name, values in found.items()}
    result = {
        "machine": machine(),
        "median_latency_ms": medians,
        "api_cpu_us": cpu,
        "flood / calm": round(medians["flood"] / medians["calm"], 2),
        "anonymous flood / calm": round(medians["anonymous flood"] / medians["anonymous calm"], 2),
    }
    (RESULTS / "fairness.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
