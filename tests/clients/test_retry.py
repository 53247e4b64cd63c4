"""Trying again: through connections that really break, against a server that really counts."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from vssm_client import (
    AsyncClient,
    Chunk,
    Client,
    ConnectionBrokenError,
    ConnectionFailedError,
    Generation,
    TimedOutError,
    join,
)
from vssm_client.errors import QueueFullError, ShuttingDownError
from vssm_client.replies import seconds_of
from vssm_client.retry import FIRST_PAUSE_SECONDS, pause_seconds
from vssm_server.connect import connect

from tests.clients.proxy import Proxy, free_port
from tests.clients.test_client import rows
from tests.e2e.serving import Serve, until

Cutting = Callable[[Sequence[int | None]], Proxy]
LONG = 2_000  # steps, in many chunks


def test_a_session_advances_once_however_often_the_answer_is_lost(proxy: Cutting, url: str) -> None:
    with Client(url) as straight:
        session_id = straight.generate(model="pixels", length=5, seed=1, save=True).session_id
        between = proxy([0, 0, 20])
        with Client(between.url) as client:
            result = client.generate(session_id=session_id, length=7)
        assert between.connections == 4
        assert result.position == 12
        assert straight.session(session_id).info().position == 12
        assert rows(result) == rows(straight.generate(model="pixels", length=12, seed=1))[5:]


def test_the_control_without_retries(proxy: Cutting, url: str) -> None:
    with Client(proxy([0]).url, retries=0) as client, pytest.raises(ConnectionBrokenError):
        client.generate(model="pixels", length=5)


async def test_the_async_client_tries_again_too(proxy: Cutting, url: str) -> None:
    async with AsyncClient(url) as straight, straight.session(model="pixels", seed=1) as session:
        await session.resume(length=5)
        async with AsyncClient(proxy([0, 0]).url) as client:
            assert (await client.generate(session_id=session.id, length=7)).position == 12
        assert (await session.info()).position == 12
        whole = await straight.generate(model="pixels", length=LONG, seed=4)
        async with AsyncClient(proxy([900, 3000]).url) as client:
            events = [event async for event in client.stream(model="pixels", length=LONG, seed=4)]
    assert join(events).outputs == whole.outputs


def test_a_fork_makes_one_copy_and_a_deletion_is_one(proxy: Cutting, serve: Serve, url: str) -> None:
    redis = connect(serve.redis_url)

    def saved() -> int:
        return sum(1 for _ in redis.scan_iter("vssm:session:*", count=1000))

    with Client(url) as straight:
        session_id = straight.generate(model="pixels", length=5, save=True).session_id
        assert session_id is not None
        before = saved()
        assert before > 0
        with Client(proxy([0, 0]).url) as client:
            copy = client.fork(session_id)
        assert saved() == before + 1
        with Client(proxy([0]).url) as client:
            client.delete(session_id)  # the answer to the first try is lost, the second finds nothing: it is done
        straight.delete(copy.id)
        assert saved() == before - 1
    redis.close()


@pytest.mark.parametrize("cuts", [[0], [700], [3000, 2000], [100, 100, 100, 100]])
@pytest.mark.parametrize("model", ["pixels", "text"])
def test_a_broken_stream_goes_on_without_a_gap(proxy: Cutting, url: str, cuts: list[int], model: str) -> None:
    """Without a seed: the key has the server draw the same one again."""
    between = proxy(cuts)
    with Client(between.url) as client:
        events = list(client.stream(model=model, length=LONG, num_samples=2))
    assert between.connections == len(cuts) + 1
    done = events[-1]
    assert isinstance(done, Generation)
    positions = [event.position for event in events if isinstance(event, Chunk)]
    assert positions == sorted(set(positions))
    with Client(url) as straight:
        whole = straight.generate(model=model, length=LONG, num_samples=2, seed=done.seed)
    joined = join(events)
    assert joined.outputs == whole.outputs
    if model == "text":
        texts = ["".join(e.outputs[0].text or "" for e in events), whole.outputs[0].text or ""]
        assert texts[0] == texts[1][: len(texts[0])]
        assert len(texts[1]) - len(texts[0]) <= 1  # a character that was cut at the very end


def test_an_api_that_is_killed_is_asked_again(start: Callable[..., Serve]) -> None:
    """`serve` starts the API again on the same socket; the session advances once."""
    serve = start(max_request_steps=10**6)
    url = str(serve.client.base_url)
    with Client(url, retries=6) as client, ThreadPoolExecutor(1) as pool:
        session = client.session(model="pixels", num_samples=8, seed=1)
        session.resume(length=5)
        answer = pool.submit(session.resume, length=100_000)
        until(lambda: serve.metric("vssm_requests_running") == 1)
        assert not answer.done()
        serve.child("api").kill()
        assert answer.result().position == 100_005
        assert session.info().position == 100_005


def test_a_stream_survives_the_death_of_the_api(start: Callable[..., Serve]) -> None:
    serve = start()
    with Client(str(serve.client.base_url), retries=6) as client:
        events = client.stream(model="pixels", length=50_000, seed=1)
        first = next(events)
        serve.child("api").kill()
        joined = join([first, *events])
        assert rows(joined) == rows(client.generate(model="pixels", length=50_000, seed=1))


def test_a_server_that_comes_late_is_waited_for(serve: Serve) -> None:
    port, late = free_port(), []
    timer = threading.Timer(0.5, lambda: late.append(Proxy(serve.client.base_url.port or 0, own_port=port)))
    timer.start()
    with Client(f"http://127.0.0.1:{port}", retries=6) as client:
        assert client.models()
    timer.join()
    late[0].close()


async def test_a_refused_connection_is_an_error_of_ones_own() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retries=1) as client:
        for ask in (client.models, client.generate, lambda: next(client.stream())):
            with pytest.raises(ConnectionFailedError, match=f"{url} was not reached.*refused"):
                ask()
    async with AsyncClient(url, retries=0) as other:
        with pytest.raises(ConnectionFailedError):
            await other.generate()


def test_a_timeout_is_for_all_tries(url: str) -> None:
    with Client(url, timeout=0.2) as client, pytest.raises(TimedOutError, match="in time"):
        client.generate(model="pixels", length=100_000)
    began = time.monotonic()
    nobody = f"http://127.0.0.1:{free_port()}"
    with Client(nobody, timeout=1, retries=1000) as client, pytest.raises(ConnectionFailedError):
        client.models()
    assert time.monotonic() - began < 30  # a thousand retries would take hours
    for wrong in ({"timeout": 0}, {"connect_timeout": -1}, {"retries": -1}):
        with pytest.raises(ValueError, match="must be"):
            Client(url, **wrong)  # type: ignore[arg-type]


class Scripted(httpx.BaseTransport):
    """Answers as told, and remembers what it was sent and when."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers, self.seen, self.times = list(answers), list[httpx.Request](), list[float]()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        self.times.append(time.monotonic())
        return self.answers.pop(0)


def refusal(status: int, type: str, **headers: str) -> httpx.Response:
    error = {"type": type, "message": "m", "param": None, "code": status}
    return httpx.Response(status, json={"error": error}, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_retry_after_is_waited_and_the_key_stays() -> None:
    models = httpx.Response(200, json={"models": []})
    script = Scripted(refusal(503, "shutting_down", retry_after="1"), httpx.Response(502, text="<html>"), models)
    with Client(transport=script) as client:
        assert client.models() == []
    assert script.times[1] - script.times[0] >= 1
    full = [refusal(429, "queue_full") for _ in range(4)]
    for retries, keys in ((1, 1), (0, 0)):
        script = Scripted(*full[: retries + 1])
        with Client(transport=script, retries=retries) as client, pytest.raises(QueueFullError):
            client.generate(seed=1)
        sent = [request.headers.get("idempotency-key") for request in script.seen]
        assert len(sent) == retries + 1
        assert len({key for key in sent if key}) == keys
        assert len({request.content for request in script.seen}) == 1


def test_each_call_has_its_own_key_or_yours() -> None:
    script = Scripted(*(refusal(422, "invalid_value") for _ in range(3)))
    with Client(transport=script) as client:
        for options in ({}, {}, {"idempotency_key": "mine"}):
            with pytest.raises(Exception, match="invalid_value"):
                client.generate(**options)  # type: ignore[arg-type]
        first, second, mine = (request.headers["idempotency-key"] for request in script.seen)
        assert first != second
        assert mine == "mine"
        assert b"mine" not in script.seen[2].content
        for wrong in ("", "x" * 256, "caf\u00e9", "a\nb"):
            with pytest.raises(ValueError, match="idempotency_key"):
                client.generate(idempotency_key=wrong)


@pytest.mark.parametrize(
    ("status", "type"),
    [(503, "model_failed"), (504, "deadline_exceeded"), (500, "internal_error"), (409, "session_conflict")],
)
def test_what_would_come_again_is_not_tried_again(status: int, type: str) -> None:
    script = Scripted(refusal(status, type, retry_after="1"))
    with Client(transport=script) as client, pytest.raises(Exception, match=type):
        client.generate()
    assert len(script.seen) == 1


def test_pauses_grow_and_headers_are_read() -> None:
    error = ShuttingDownError(503, "shutting_down", "m", None, 5.0)
    assert 5 + FIRST_PAUSE_SECONDS / 2 <= pause_seconds(0, error) <= 5 + FIRST_PAUSE_SECONDS
    assert pause_seconds(3, ConnectionBrokenError()) >= 4 * FIRST_PAUSE_SECONDS
    assert pause_seconds(5000, ConnectionBrokenError()) <= 8
    assert seconds_of("7") == 7
    assert seconds_of(None) is seconds_of("soon") is None
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < (seconds_of(date) or 0) <= 100
