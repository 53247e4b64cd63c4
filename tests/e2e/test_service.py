"""The service when clients leave, compete or flood, and when its parts are away."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import httpx
import pytest
from vssm_server.connect import MOST_LINKS, connect

from tests.e2e.serving import Serve, joined, parse, streamed, until, values
from tests.soak.link import Link

LONG = {"model": "pixels", "length": 100_000}


def idle(serve: Serve) -> bool:
    return serve.metric("vssm_requests_running") + serve.metric("vssm_requests_waiting") == 0


def test_a_stream_whose_client_left_stops(serve: Serve) -> None:
    until(lambda: idle(serve))
    before = serve.metric("vssm_generated_steps_total")
    with serve.client.stream("POST", "/generate", json={**LONG, "stream": True}) as response:
        next(response.iter_raw())
    until(lambda: serve.metric("vssm_requests_running") == 0, 10)
    time.sleep(1.2)
    made = serve.metric("vssm_generated_steps_total") - before
    time.sleep(1.2)
    assert made == serve.metric("vssm_generated_steps_total") - before
    assert 128 <= made < 50_000


def test_control_a_stream_that_is_read_runs_to_its_end(serve: Serve) -> None:
    until(lambda: idle(serve))
    before = serve.metric("vssm_generated_steps_total")
    serve.stream(**LONG)
    until(lambda: serve.metric("vssm_generated_steps_total") - before == 100_000, 10)


def test_a_whole_request_whose_client_left_stops(serve: Serve) -> None:
    until(lambda: idle(serve))
    before = serve.metric("vssm_generated_steps_total")
    with pytest.raises(httpx.ReadTimeout):
        serve.client.post("/generate", json=LONG, timeout=0.3)
    until(lambda: idle(serve), 10)
    time.sleep(1.2)
    assert serve.metric("vssm_generated_steps_total") - before < 100_000


def test_a_client_that_leaves_within_its_body_is_no_error(start: Callable[..., Serve]) -> None:
    serve = start()
    url = serve.client.base_url
    for _ in range(3):
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert serve.generate(model="pixels", length=1)
    assert "Traceback" not in (serve.folder / "log").read_text()
    assert serve.metric("vssm_failures_total") == 0


@pytest.mark.parametrize("stream", [False, True])
def test_two_resumes_at_once_get_consecutive_parts(serve: Serve, stream: bool) -> None:
    first = serve.generate(model="pixels", length=10, seed=4, save=True)
    session = first["session_id"]

    def resume(_: int) -> tuple[int, list[object]]:
        if stream:
            events = serve.stream(session_id=session, length=700)
            return events[-1][1]["position"], streamed(events)
        result = serve.generate(session_id=session, length=700)
        return result["position"], values(result)

    with ThreadPoolExecutor(6) as pool:
        got = sorted(pool.map(resume, range(6)))
    assert [position for position, _ in got] == [710 + 700 * i for i in range(6)]
    whole = values(serve.generate(model="pixels", length=4210, seed=4))
    assert joined([values(first), *(part for _, part in got)]) == whole


def test_resumes_over_several_workers(start: Callable[..., Serve]) -> None:
    serve = start(workers=3)
    session = serve.generate(model="pixels", length=1, seed=4, save=True)["session_id"]

    def resume(index: int) -> tuple[int, list[object]] | None:
        body = {"session_id": session, "length": 500, "stream": index % 2 == 0}
        response = serve.client.post("/generate", json={**body, "stream": False} if index % 2 else body)
        if response.status_code == 409:
            return None
        if index % 2:
            return response.json()["position"], values(response.json())
        events = list(parse(response.text))
        return (events[-1][1]["position"], streamed(events)) if events[-1][0] == "done" else None

    with ThreadPoolExecutor(12) as pool:
        got = sorted(filter(None, pool.map(resume, range(24))))
    assert [position for position, _ in got] == [501 + 500 * i for i in range(len(got))]
    assert got
    whole = values(serve.generate(model="pixels", length=1 + 500 * len(got), seed=4))
    assert joined([part for _, part in got]) == [row[1:] for row in whole]
    assert serve.client.get(f"/sessions/{session}").json()["position"] == got[-1][0]


def test_the_queue_is_bounded(serve: Serve, beside: Callable[..., Serve]) -> None:
    until(lambda: idle(serve))
    api = beside(serve, queue_limit=2)
    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda _: api.client.post("/generate", json=LONG), range(6)))
    assert sorted(answer.status_code for answer in got) == [200, 200, 429, 429, 429, 429]
    refused = next(answer for answer in got if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["type"] == "queue_full"
    assert api.generate(**{**LONG, "length": 5})


def test_the_deadline(serve: Serve, beside: Callable[..., Serve]) -> None:
    api = beside(serve, deadline_seconds=0.2)
    session = serve.generate(model="pixels", length=5, save=True)["session_id"]
    response = api.client.post("/generate", json={"session_id": session, "length": 100_000})
    assert response.status_code == 504
    assert response.json()["error"]["type"] == "deadline_exceeded"
    assert serve.client.get(f"/sessions/{session}").json()["position"] == 5


def test_no_worker(serve: Serve, beside: Callable[..., Serve]) -> None:
    lonely = beside(serve, redis_url=serve.redis_url + "?db=1")
    response = lonely.client.post("/generate", json={"model": "pixels"})
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "no_worker"
    assert response.headers["Retry-After"]
    assert lonely.client.get("/readyz").status_code == 503


def test_drain(start: Callable[..., Serve]) -> None:
    serve = start(max_length=100_000)
    assert serve.process is not None
    with ThreadPoolExecutor(3) as pool:
        answer, events = pool.submit(serve.generate, **LONG), pool.submit(serve.stream, **LONG)
        until(lambda: serve.metric("vssm_requests_running") == 2)
        serve.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        late = serve.client.post("/generate", json=LONG)
        assert late.status_code == 503
        assert late.json()["error"]["type"] == "shutting_down"
        assert late.headers["Retry-After"]
        assert events.result()[-1][0] == "done"
        assert len(values(answer.result())[0]) == 100_000
    assert serve.process.wait(30) == 0


def test_redis_away_and_back(start: Callable[..., Serve]) -> None:
    serve = start()
    session = serve.generate(model="pixels", length=5, save=True)["session_id"]
    redis_process = serve.child("valkey-server")
    redis_process.send_signal(signal.SIGSTOP)
    time.sleep(7)
    began = time.monotonic()
    response = serve.client.post("/generate", json={"model": "pixels", "length": 5})
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "redis_unavailable"
    assert response.headers["Retry-After"]
    assert time.monotonic() - began < 1
    assert serve.client.get("/readyz").status_code == 503
    assert serve.client.get("/livez").status_code == 200
    redis_process.send_signal(signal.SIGCONT)
    until(serve.ready)
    assert serve.generate(session_id=session, length=5)["position"] == 10


def test_nothing_is_left_in_redis(serve: Serve) -> None:
    for stream in (False, True):
        serve.client.post("/generate", json={"model": "pixels", "length": 300, "stream": stream, "save": True})
    until(lambda: idle(serve))
    client = connect(serve.redis_url)
    kept = {key for key in client.scan_iter(count=1000) if isinstance(key, bytes) and client.ttl(key) == -1}
    assert kept <= {b"vssm:jobs", b"vssm:workers", b"vssm:apis", b"vssm:totals"}
    assert client.xlen("vssm:jobs") == 0
    client.close()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"VSSM_PORT": "{busy}"}, "Address already in use"),
        ({"VSSM_STATE_DIR": "{locked}", "VSSM_PORT": "0"}, "Another vssm-server uses"),
        ({"VSSM_STATE_DIR": "/proc/nowhere", "VSSM_PORT": "0"}, "cannot be used"),
        ({"VSSM_PROT": "1"}, "did you mean VSSM_PORT"),
        ({"VSSM_PORT": "many"}, "VSSM_PORT must be a valid integer"),
        ({"VSSM_REDIS_URL": "http://x"}, "must begin with redis://"),
        ({"VSSM_REDIS_URL": "redis://host:port/0"}, "VSSM_REDIS_URL cannot be used"),
        ({"VSSM_MAX_TTL_SECONDS": "10000000000000000"}, "less than or equal to 315360000"),
        ({"VSSM_DEADLINE_SECONDS": "inf"}, "less than or equal to 86400"),
    ],
)
def test_wrong_settings_are_explained(serve: Serve, settings: dict[str, str], says: str, tmp_path: Path) -> None:
    places = {"busy": serve.client.base_url.port, "locked": f"{serve.folder}/state"}
    chosen = {name: value.format(**places) for name, value in {"VSSM_STATE_DIR": str(tmp_path), **settings}.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VSSM_")}
    command = [sys.executable, "-m", "vssm_server", "serve"]
    result = subprocess.run(command, env=clean | chosen, capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_a_request_that_names_no_model_gets_the_default_one(start: Callable[..., Serve], models: str) -> None:
    chosen = ",".join(folder for folder in models.split(",") if folder.endswith(("/pixels", "/text")))
    server = start(models=chosen, default_model="text")
    assert server.generate(length=3)["model"] == "text"
    assert server.generate(length=3, model="pixels")["model"] == "pixels"
    other = server.beside(default_model="absent")
    until(other.alive)
    refused = other.client.post("/generate", json={"length": 3})
    assert refused.status_code == 422
    assert refused.json()["error"]["message"] == "model is needed, as several are served: pixels, text."
    assert other.stop() == 0


def test_many_requests_share_a_few_links_to_redis(serve: Serve) -> None:
    """All at once: none is refused for want of a link, and Redis does not see as many clients."""
    session = serve.generate(model="pixels", length=1, save=True)["session_id"]

    async def look() -> tuple[set[int], int]:
        links = [Link(serve.client.base_url.port or 0) for _ in range(400)]
        await asyncio.gather(*(link.ask("GET", "/livez") for link in links))
        answers = await asyncio.gather(*(link.ask("GET", f"/sessions/{session}") for link in links))
        with connect(serve.redis_url) as client:
            clients = cast("int", client.info("clients")["connected_clients"])
        for link in links:
            link.close()
        return {answer.status for answer in answers}, clients

    statuses, clients = asyncio.run(look())
    assert statuses == {200}
    assert clients < MOST_LINKS + 50  # of other processes, which come and go with tests
