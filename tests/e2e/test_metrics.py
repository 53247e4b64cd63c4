"""Metrics of the whole service: nothing is lost or doubled, whoever is asked and whoever dies."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.serving import Serve, until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
REQUESTS = 60


def scrape(serve: Serve) -> Samples:
    """Every sample of /metrics by its name and labels."""
    text = serve.client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Sum over the labels that are not given."""
    return sum(value for (found, has), value in samples.items() if found == name and set(labels.items()) <= set(has))


def lasting(samples: Samples) -> Samples:
    """What only grows."""
    return {key: value for key, value in samples.items() if key[0].endswith(("_total", "_count", "_sum", "_bucket"))}


@pytest.fixture
def two(start: Callable[..., Serve], beside: Callable[..., Serve]) -> tuple[Serve, Serve]:
    """Two API processes and two workers."""
    serve = start(workers=2)
    other = beside(serve)
    until(lambda: total(scrape(serve), "vssm_workers") == 2 and total(scrape(serve), "vssm_apis") == 2)
    return serve, other


def ask(apis: tuple[Serve, ...], number: int) -> int:
    """One request to one of the APIs, a stream now and then; its steps."""
    body = {"model": "pixels", "num_samples": 1 + number % 3, "length": 200 + number, "save": number % 2 == 0}
    api = apis[number % len(apis)]
    if number % 4 == 0:
        assert api.stream(**body)[-1][0] == "done"
    else:
        api.generate(**body)
    return (1 + number % 3) * (200 + number)


def test_they_add_up_when_a_worker_is_killed(two: tuple[Serve, Serve]) -> None:
    """2 APIs, 2 workers, one killed: counters are those of the requests sent, from either API, and stay so."""
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, two, number) for number in range(REQUESTS)]
        until(lambda: sum(one.done() for one in asked) > REQUESTS // 4)
        next(child for child in two[0].children() if "worker" in child.cmdline()).kill()
        steps = sum(one.result() for one in asked)
    for serve in two:
        until(lambda: total(scrape(serve), "vssm_request_seconds_count") == REQUESTS, 3)  # noqa: B023
        samples = scrape(serve)
        assert total(samples, "vssm_requests_total", model="pixels") == REQUESTS
        assert total(samples, "vssm_requests_finished_total", model="pixels", outcome="done") == REQUESTS
        assert total(samples, "vssm_requests_finished_total") == REQUESTS
        assert total(samples, "vssm_sessions_total", event="created") == REQUESTS / 2
        assert total(samples, "vssm_failures_total") == 0
        for name in ("vssm_request_seconds", "vssm_request_queue_seconds"):
            assert total(samples, f"{name}_count") == REQUESTS
        assert total(samples, "vssm_time_to_first_chunk_seconds_count") == REQUESTS / 4
        assert total(samples, "vssm_generated_steps_total") >= steps  # more, as the dead worker's jobs were run again
        assert total(samples, "vssm_requests_active") == 0
    until(lambda: total(scrape(two[0]), "vssm_workers") == 2)
    assert lasting_but_busy(scrape(two[0])) == lasting_but_busy(scrape(two[1]))


def lasting_but_busy(samples: Samples) -> Samples:
    """The seconds that workers were busy are each worker's own."""
    return {key: value for key, value in lasting(samples).items() if "busy" not in key[0]}


def test_they_add_up_when_an_api_is_killed(start: Callable[..., Serve]) -> None:
    """What was accepted is counted with its acceptance and its end, so not even the last half second is lost."""
    serve = start()
    other = serve.beside()
    until(other.alive)
    for number in range(20):
        ask((serve, other), number)
    before = scrape(serve)
    session = other.generate(model="pixels", length=5, save=True)["session_id"]
    other.generate(session_id=session, length=5)
    fork = other.client.post(f"/sessions/{session}/fork").json()["id"]
    other.client.delete(f"/sessions/{fork}")
    other.kill()
    until(lambda: total(scrape(serve), "vssm_apis") == 1)
    after = scrape(serve)
    grown = {key[1]: after[key] - before.get(key, 0) for key in after if key[0] == "vssm_sessions_total"}
    assert {dict(labels)["event"]: count for labels, count in grown.items()} == {
        "created": 1,
        "resumed": 1,
        "forked": 1,
        "deleted": 1,
    }
    assert total(after, "vssm_requests_total") == total(after, "vssm_requests_finished_total") == 22
    assert total(after, "vssm_requests_active") == 0
    other.client.close()
