"""The Prometheus metrics of the whole service, from any of its API processes.

Counters and histograms are the totals in Redis, gauges come from the heartbeats. So every API gives the same answer,
behind one address too: one of them is scraped, and nothing needs to be added up over processes.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vssm_server.counters import (
    COUNTERS,
    CREATED,
    DELETED,
    FAILURES,
    FORKED,
    HISTOGRAMS,
    RESUMED,
    SCALE,
    SEPARATOR,
    SESSIONS,
    SUM,
    Counter,
    Histogram,
)
from vssm_server.errors import STATUS
from vssm_server.fleet import Fleet
from vssm_server.hub import Hub
from vssm_server.messages import Heartbeat

ZEROS = [FAILURES.of(reason) for reason in STATUS] + [
    SESSIONS.of(event) for event in (CREATED, RESUMED, FORKED, DELETED)
]  # told before the first one happens, so that the first one is seen as growth


async def scrape(hub: Hub, fleet: Fleet) -> bytes:
    """The metrics in Prometheus' text format. Without Redis there is only that it is away."""
    registry = CollectorRegistry()
    try:
        await hub.beat()  # what is counted here is among the totals then
        await fleet.refresh()
        registry.register(Service(await hub.totals(), await hub.apis(), fleet))
    except (redis.RedisError, OSError):
        registry.register(Away())
    return generate_latest(registry)


class Away(Collector):
    """Redis does not answer."""

    def collect(self) -> Iterable[Metric]:
        """Called once."""
        yield _redis(0)


class Service(Collector):
    """Totals by name, unanswered requests of each API, and the workers."""

    def __init__(self, totals: Mapping[str, int], active: list[int], fleet: Fleet) -> None:
        self.totals, self.active, self.fleet = totals, active, fleet

    def collect(self) -> Iterable[Metric]:
        """Called once."""
        yield _redis(1)
        yield from (_counter(family, self.totals) for family in COUNTERS)
        yield from (_histogram(family, self.totals) for family in HISTOGRAMS)
        yield GaugeMetricFamily("vssm_apis", "API processes with a heartbeat.", len(self.active))
        yield GaugeMetricFamily("vssm_workers", "Workers with a heartbeat.", len(self.fleet.workers))
        yield GaugeMetricFamily("vssm_requests_active", "Accepted requests not answered yet.", sum(self.active))
        yield GaugeMetricFamily("vssm_requests_waiting", "Requests no worker runs yet.", self.fleet.waiting)
        yield from _workers(self.fleet.workers)


def _redis(up: int) -> Metric:
    return GaugeMetricFamily("vssm_redis_up", "Whether Redis answers; without it nothing else is known.", up)


def _parts(name: str, totals: Mapping[str, int]) -> Iterator[tuple[list[str], int]]:
    """What stands after a metric's name in the names of its totals."""
    for total, amount in totals.items():
        head, *rest = total.split(SEPARATOR)
        if head == name:
            yield rest, amount


def _counter(family: Counter, totals: Mapping[str, int]) -> Metric:
    metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for values, amount in _parts(family.name, {**dict.fromkeys(ZEROS, 0), **totals}):
        if len(values) == len(family.labels):
            metric.add_metric(values, amount)
    if not family.labels and not metric.samples:
        metric.add_metric([], 0)
    return metric


def _histogram(family: Histogram, totals: Mapping[str, int]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    series: dict[tuple[str, ...], dict[str, int]] = {}
    for parts, amount in _parts(family.name, totals):
        if len(parts) == len(family.labels) + 1:
            series.setdefault(tuple(parts[:-1]), {})[parts[-1]] = amount
    bounds = [*(f"{bound:g}" for bound in family.bounds), "+Inf"]
    for labels, amounts in series.items():
        counts = accumulate(float(amounts.get(str(place), 0)) for place in range(len(bounds)))
        metric.add_metric(labels, list(zip(bounds, counts, strict=True)), amounts.get(SUM, 0) / SCALE)
    return metric


def _workers(workers: list[Heartbeat]) -> Iterator[Metric]:
    """Each under its name; they end with it."""
    yield _each("vssm_requests_running", "Requests in a worker's hands.", [(w, w.running) for w in workers])
    yield _each("vssm_worker_models", "Models that a worker serves.", [(w, len(w.models)) for w in workers])
    failed = [(worker, len(worker.failed)) for worker in workers]
    yield _each("vssm_worker_models_failed", "Checkpoints that a worker could not load.", failed)
    busy = CounterMetricFamily(
        "vssm_worker_busy_seconds", "Time in passes; its rate is the busy part.", labels=["worker"]
    )
    info = GaugeMetricFamily(
        "vssm_device_info", "What a worker computes on.", labels=["worker", "device", "kind", "model"]
    )
    for worker in workers:
        busy.add_metric([worker.worker], worker.busy_seconds)
        if device := worker.device:
            info.add_metric([worker.worker, device.name, device.kind, device.model], 1)
    yield from (busy, info)
    devices = [(worker, worker.device) for worker in workers if worker.device]
    allocated = [(worker, device.memory_bytes) for worker, device in devices]
    yield _each("vssm_device_memory_allocated_bytes", "Of the device; on a CPU, resident memory.", allocated)
    total = [(worker, device.memory_total_bytes) for worker, device in devices]
    yield _each("vssm_device_memory_bytes", "All memory of the device; on a CPU, of the host.", total)


def _each(name: str, help: str, values: list[tuple[Heartbeat, int]]) -> Metric:
    metric = GaugeMetricFamily(name, help, labels=["worker"])
    for worker, value in values:
        metric.add_metric([worker.worker], value)
    return metric
