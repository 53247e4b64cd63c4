"""What the server costs beside its engine: HTTP requests per second against the same passes without Redis and HTTP.

    python -m benchmarks.serve              writes benchmarks/results/serve.json and .png

Real processes: Valkey, API, one worker, and a load process (`benchmarks.load`), which all share this machine's cores.
The worker's log says which passes it ran, as rows and steps of every window. The **bare engine** is `VSSM.advance` on
windows of just these rows and steps, in this process, with as many threads as the worker has, while the server idles.

ratio      time of the bare engine for all passes of a measurement / time of the measurement
overhead   median latency at concurrency 1 - median time of the bare engine for a request's passes
CPU time   of each process for a request; the worker's without that of the bare engine
by CPU     the ratio that these CPU times allow if nothing else runs: the bare engine's against the longest of what the
           worker, the API process and all cores together need for a request. On a shared machine, where the server gets
           fewer cores than it could use ("cores"), the ratio is lower than this and says little

Rounds of short measurements alternate over models, formats and concurrencies; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import psutil
import torch

import vssm
from benchmarks.load import Job, Load, Report
from benchmarks.machine import machine
from benchmarks.models import PIXELS_1M
from benchmarks.scaling import RESULTS, percentiles, show, until_workers
from tests.chaos.cluster import Cluster, local_cluster
from vssm import VSSM, Window

CORES = os.cpu_count() or 1
CONCURRENCIES = (1, 8, 64)
FORMATS = {"json": "application/json", "npy": "application/x-npy", "sse": "text/event-stream"}
PIXELS = 28 * 28  # of every answer, a byte or more each
PARTS = ("redis", "api", "worker", "load")
Pass = list[tuple[int, int]]  # rows and steps of each window


@dataclass
class Measured:
    """One measurement of the server: what the clients saw, CPU seconds of each process, what the worker ran."""

    report: Report
    cpu: dict[str, float]
    passes: list[Pass]


@dataclass
class Bare:
    """Passes without the server: seconds and CPU seconds of all, seconds of each request when it is alone in them."""

    seconds: float
    cpu: float
    requests: list[float]


class Service:
    """A running cluster, and the process that loads it."""

    def __init__(self, cluster: Cluster, load: Load) -> None:
        self.load = load
        self.port = int(cluster.api_urls[0].rpartition(":")[2])
        self._log = cluster.workers[0].log
        self._processes = {"load": psutil.Process(load.process.pid)}
        for node in cluster.nodes:
            assert node.process is not None
            self._processes[node.name.partition("-")[0]] = psutil.Process(node.process.pid)

    def measure(self, model: str, form: str, concurrency: int, seconds: float) -> Measured:
        """Clients of one kind for `seconds`, and until their last answers are here."""
        body = json.dumps({"model": model, "stream": form == "sse"})
        job = Job(self.port, FORMATS[form], body, concurrency, seconds, PIXELS)
        logged, before = self._log.stat().st_size, self._used()
        report = self.load.measure(job)
        used = self._used()
        return Measured(report, {name: used[name] - before[name] for name in PARTS}, self._passes(logged))

    def _used(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: time.user + time.system for name, time in times.items()}

    def _passes(self, logged: int) -> list[Pass]:
        """From the log: it is written before a pass's replies are."""
        with self._log.open() as log:
            log.seek(logged)
            messages = [json.loads(line).get("message", "") for line in log if line.startswith("{")]
        return [json.loads(message.removeprefix("pass ")) for message in messages if message.startswith("pass [")]


def replay(model: VSSM, passes: list[Pass], seconds: float) -> Bare:
    """Runs passes in the order they came, for `seconds` at most; the time of the rest is by their rows x steps."""
    done, began, cpu, times = 0, time.perf_counter(), 0.0, []
    for windows in passes:
        states = [Window(model.start(rows, seed=7), steps, encode=False) for rows, steps in windows]
        start, busy = time.perf_counter(), time.process_time()
        model.advance(states)
        times.append(time.perf_counter() - start)
        cpu += time.process_time() - busy
        done += work(windows)
        if time.perf_counter() - began > seconds:
            break
    share = done / sum(map(work, passes))
    return Bare(sum(times) / share, cpu / share, list(requests(model, passes, times)))


def work(windows: Pass) -> int:
    """Rows x steps."""
    return sum(rows * steps for rows, steps in windows)


def requests(model: VSSM, passes: list[Pass], times: list[float]) -> Iterator[float]:
    """Times of whole requests, if each pass is of one request only."""
    spent, steps = 0.0, 0
    for windows, seconds in zip(passes, times, strict=False):
        spent, steps = spent + seconds, steps + work(windows)
        if steps >= model.config.length:
            yield spent
            spent, steps = 0.0, 0


def figures(measured: Measured, bare: Bare, concurrency: int) -> dict[str, float]:
    """What is reported of one measurement."""
    report = measured.report
    count = len(report.latencies)
    cpu = measured.cpu | {"worker": measured.cpu["worker"] - bare.cpu, "engine": bare.cpu}
    found = {
        "requests_per_second": count / report.passed,
        **percentiles(report.latencies),
        "rows_per_pass": statistics.mean(sum(rows for rows, _ in windows) for windows in measured.passes),
        "engine_requests_per_second": count / bare.seconds,
        "ratio": bare.seconds / report.passed,
    }
    if report.first:
        found["first_chunk_ms"] = 1e3 * statistics.median(report.first)
    if concurrency == 1 and bare.requests:
        found["overhead_ms"] = found["p50_ms"] - 1e3 * statistics.median(bare.requests)
    slowest = max((cpu["engine"] + cpu["worker"]) / torch.get_num_threads(), cpu["api"], sum(cpu.values()) / CORES)
    found["ratio_by_cpu"] = cpu["engine"] / torch.get_num_threads() / slowest
    found["cores"] = sum(measured.cpu.values()) / report.passed
    shares = {f"{name}_cores": seconds / report.passed for name, seconds in measured.cpu.items()}
    return found | shares | {f"{name}_us": 1e6 * seconds / count for name, seconds in cpu.items()}


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure over the rounds."""
    return {name: statistics.median(found[name] for found in rounds if name in found) for name in rounds[0]}


def measure_all(
    service: Service, models: dict[str, VSSM], concurrencies: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """One row for every model, format and concurrency."""
    cells = list(product(models, FORMATS, concurrencies))
    found: dict[tuple[str, str, int], list[dict[str, float]]] = {cell: [] for cell in cells}
    for name, form in product(models, FORMATS):
        service.measure(name, form, 8, min(0.5, seconds))  # warms up
        replay(models[name], [[(1, models[name].config.length)]], 1.0)
    for number in range(rounds):
        for name, form, concurrency in random.Random(number).sample(cells, len(cells)):
            measured = service.measure(name, form, concurrency, seconds)
            bare = replay(models[name], measured.passes, seconds)
            found[name, form, concurrency].append(figures(measured, bare, concurrency))
    return [
        {"model": name, "format": form, "concurrency": concurrency, **medians(rows)}
        for (name, form, concurrency), rows in found.items()
    ]


def run(
    names: Sequence[str], concurrencies: Sequence[int], rounds: int, seconds: float, threads: int
) -> dict[str, Any]:
    """Everything in one run."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="vssm-serve-") as name:
        folder = Path(name)
        vssm.save(VSSM(vssm.ModelConfig.model_validate(PIXELS_1M)).eval(), folder / "pixels")
        sources = {name: str(folder / name) if name == "pixels" else name for name in names}
        models = {name: vssm.load(source) for name, source in sources.items()}
        served = ",".join(sources.values())
        settings: dict[str, Any] = {"THREADS": str(threads), "LOG_LEVEL": "debug"}
        with local_cluster(folder, served, "everysec", 1, 1, **settings) as cluster, Load() as load:
            asyncio.run(until_workers(cluster, 1))
            rows = measure_all(Service(cluster, load), models, concurrencies, rounds, seconds)
    return {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
        "rows": rows,
    }


# -- report -----------------------------------------------------------------------------------------------------------


def tables(rows: list[dict[str, Any]]) -> None:
    """What clients see and what each process costs."""
    speed = {
        "requests_per_second": "HTTP/s",
        "engine_requests_per_second": "engine/s",
        "ratio": "ratio",
        "ratio_by_cpu": "by CPU",
        "cores": "cores",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "overhead_ms": "overhead ms",
        "first_chunk_ms": "first chunk ms",
        "rows_per_pass": "rows/pass",
    }
    costs = {f"{part}_us": f"{part} µs" for part in (*PARTS, "engine")}
    costs |= {f"{part}_cores": f"{part} cores" for part in PARTS}
    for title, columns in (("HTTP and bare engine", speed), ("CPU time of a request, cores used", costs)):
        names = {"model": "model", "format": "format", "concurrency": "under way"} | columns
        show(title, [{names[key]: rounded(row.get(key), key) for key in names} for row in rows])


def rounded(value: Any, key: str) -> Any:
    if not isinstance(value, float):
        return "" if value is None else value
    return f"{value:.2f}" if key.startswith("ratio") or key.endswith(("cores", "_ms")) else f"{value:,.0f}"


def plot(result: dict[str, Any], path: Path) -> None:
    matplotlib.use("Agg")
    models = list(result["parameters"])
    figure, axes = plt.subplots(2, len(models), figsize=(11, 7), layout="constrained", squeeze=False)
    for name, (above, below) in zip(models, axes.T, strict=True):
        rows = [row for row in result["rows"] if row["model"] == name]
        above.set_title(f"{name}: {result['parameters'][name] / 1e6:.2f} M parameters", loc="left")
        plot_speeds(above, rows)
        most = max(row["concurrency"] for row in rows)
        plot_costs(below, [row for row in rows if row["concurrency"] == most])
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def plot_speeds(axis: Any, rows: list[dict[str, Any]]) -> None:
    for form, colour in zip(FORMATS, ("#4c72b0", "#dd8452", "#55a868"), strict=True):
        chosen = [row for row in rows if row["format"] == form]
        at = [row["concurrency"] for row in chosen]
        axis.plot(at, [row["requests_per_second"] for row in chosen], "o-", color=colour, label=form)
        if form == "npy":
            bare = [row["engine_requests_per_second"] for row in chosen]
            axis.plot(at, bare, "s--", color="#555555", label="bare engine, the passes of npy")
            for row in chosen:
                place = (row["concurrency"], row["engine_requests_per_second"])
                axis.annotate(f"{row['ratio']:.2f}", place, xytext=(0, 6), textcoords="offset points", ha="center")
    axis.set(xlabel="requests under way", ylabel="requests per second", xscale="log")
    axis.set_xticks(at, [str(count) for count in at])
    axis.minorticks_off()
    axis.set_ylim(0, 1.45 * axis.get_ylim()[1])
    title = "the number above: npy / bare engine"
    axis.legend(frameon=False, loc="upper left", ncols=2, title=title, fontsize=8, title_fontsize=8)


def plot_costs(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Stacked CPU times of a request; the engine's own is said beside the bars, as it may be far longer."""
    parts = {"api": "#4c72b0", "worker": "#dd8452", "redis": "#c44e52", "load": "#bbbbbb"}
    costs = {part: [row[f"{part}_us"] for row in rows] for part in parts}
    ends = list(accumulate(costs.values(), lambda below, more: [a + b for a, b in zip(below, more, strict=True)]))
    places = range(len(rows))
    for (part, colour), end in zip(parts.items(), ends, strict=True):
        left = [a - b for a, b in zip(end, costs[part], strict=True)]
        axis.barh(places, costs[part], left=left, color=colour, height=0.55, label=part)
    labels = [f"{row['format']}\nengine {row['engine_us']:,.0f}" for row in rows]
    axis.set_yticks(places, labels)
    axis.invert_yaxis()
    axis.set(xlabel=f"CPU time beside the engine, µs a request, {rows[0]['concurrency']} under way")
    axis.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.13))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--models", nargs="+", default=["mnist", "pixels"], help="`pixels` has random weights")
    parser.add_argument("--concurrencies", type=int, nargs="+", default=list(CONCURRENCIES))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="of the worker and of the bare engine")
    parser.add_argument("--out", type=Path, default=RESULTS / "serve.json")
    arguments = parser.parse_args()
    result = run(arguments.models, arguments.concurrencies, arguments.rounds, arguments.seconds, arguments.threads)
    tables(result["rows"])
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    plot(result, arguments.out.with_suffix(".png"))
    print(f"wrote {arguments.out} and .png")


if __name__ == "__main__":
    main()
