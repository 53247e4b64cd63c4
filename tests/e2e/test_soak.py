"""The soaks in short, beside the common server; and that each of them finds what it is there to find."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from vssm_server.connect import connect

from tests.e2e.serving import Serve, until
from tests.soak import connections, vanish
from tests.soak.link import Link
from tests.soak.rest import rest, settle
from tests.soak.run import Plan, soak
from tests.soak.samples import Sample, growth
from tests.soak.service import KINDS, Target, make_keys

TIMES = {"deadline_seconds": 3, "default_ttl_seconds": 2, "idempotency_seconds": 1}
SHORT = Plan(seconds=4, clients=16, most_growth=0.10, settle_seconds=15)  # within seconds, caches still fill

Start = Callable[..., Target]


@pytest.fixture
def target(serve: Serve) -> Iterator[Start]:
    """Starts an API beside the common server, whose worker and Redis are watched with it."""
    started: list[Serve] = []

    def begin(module: str = "vssm_server", **settings: object) -> Target:
        document, texts = make_keys()
        api = serve.beside(module, api_keys=document, **{**TIMES, **settings})
        started.append(api)
        until(api.ready)
        assert api.process is not None
        keys = (texts["alice"], texts["bob"])
        port = api.client.base_url.port or 0
        worker = serve.child("worker").pid
        return Target(port, api.process.pid, worker, serve.redis_url, keys, texts["watcher"], KINDS)

    yield begin
    for api in started:
        assert api.stop() == 0


def test_a_mixed_load_leaves_nothing(target: Start) -> None:
    report, samples = asyncio.run(soak(target(), SHORT))
    assert report["passed"], report
    assert report["requests"] > 100
    assert len(report["asked"]) >= 15
    assert max(sample.keys for sample in samples) > report["after"]["keys"]


def test_control_a_leak_is_found(target: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOAK_LEAK_BYTES", str(2**18))
    report, _ = asyncio.run(soak(target("tests.soak.leaking"), replace(SHORT, seconds=3, settle_seconds=0)))
    assert not report["passed"]
    assert any(problem.startswith("resident memory of the api grew") for problem in report["problems"])


def test_clients_that_vanish_leave_nothing(target: Start) -> None:
    report = asyncio.run(vanish.vanish(target(), vanish.Plan(cycles=200, settle_seconds=15)))
    assert report["passed"], report
    assert report["cycles"] >= 200
    assert report["cancelled"] > 30
    assert len(report["left_when"]) >= 4


def test_control_what_is_kept_is_found(target: Start) -> None:
    """A key that never expires, an open connection, a request under way: each by itself."""
    tried = target(deadline_seconds=60)
    before = rest(tried)
    with connect(tried.redis_url) as client:
        client.set("vssm:kept", 1)
        assert settle(tried, before, 0)[0] == ["1 keys more than before: vssm:kept", "vssm:kept never expires"]
        client.delete("vssm:kept")

    async def hold(body: object) -> list[str]:
        link = Link(tried.port, tried.keys[0] if tried.keys else None)
        await (link.write(b"GET") if body is None else link.send("POST", "/generate", body))
        await asyncio.sleep(0.3)
        found, _, _ = await asyncio.to_thread(settle, tried, before, 0)
        link.close()
        return found

    assert asyncio.run(hold(None)) == [f"{before.files + 1} open files instead of {before.files}"]
    working = asyncio.run(hold({"model": "pixels", "length": 100_000, "num_samples": 2}))
    assert any("requests at work" in text for text in working)
    assert any("pending entries" in text for text in working)
    assert settle(tried, before, 10)[0] == []


def test_idle_connections_and_slow_readers_are_not_noticed(target: Start) -> None:
    plan = connections.Plan(idle=500, slow=20, seconds=2)
    tried = target(deadline_seconds=60, max_length=200_000)
    report = asyncio.run(connections.try_it(tried, plan))
    assert report["idle_least"] >= 475
    assert report["slow_least"] >= 15
    assert report["refused"] == 0  # /livez and new requests; how soon is judged by the command, on a quiet machine


def test_growth_is_that_of_medians() -> None:
    def samples(*api: int) -> list[Sample]:
        return [Sample(float(at), memory, 1, 1, 1, 1, 0) for at, memory in enumerate(api)]

    peaks = samples(*[50] * 10, *([100, 100, 100, 900] * 10))
    assert growth(peaks, "api", warm_up=10, window=5).grown == 0
    rising = samples(*range(1000, 1100))
    assert 0.08 < growth(rising, "api", warm_up=10, window=5).grown < 0.09
    assert 0.08 < growth(rising, "api", warm_up=10, window=5).slope < 0.09
