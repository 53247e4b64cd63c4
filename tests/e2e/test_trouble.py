"""Trouble: a full or absent Redis, requests that kill or overflow their workers, encrypted connections, log lines."""

import asyncio
import json
import queue
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from vssm_server import keys
from vssm_server.connect import connect

from tests.e2e.serving import Serve, until, values

LONG = {"model": "pixels", "length": 100_000, "num_samples": 2}


def test_redis_without_memory_and_with_it_again(start: Callable[..., Serve]) -> None:
    serve = start(max_request_steps=500_000, chunk_steps=32)  # many passes: it lasts
    session = serve.generate(model="pixels", length=5, seed=3, save=True)["session_id"]
    with connect(serve.redis_url) as redis, ThreadPoolExecutor(2) as pool:
        under_way = [pool.submit(serve.client.post, "/generate", json=LONG | extra) for extra in ({}, {"stream": True})]
        until(lambda: serve.metric("vssm_requests_running") == 2)
        redis.config_set("maxmemory", 1)
        whole, streamed = (future.result() for future in under_way)
        assert whole.status_code == 507
        assert whole.json()["error"]["type"] == "storage_full"
        assert "storage_full" in streamed.text
        until(lambda: serve.client.get("/readyz").status_code == 507)
        refused = serve.client.post("/generate", json={"session_id": session, "length": 5})
        assert refused.status_code == 507
        assert refused.headers["Retry-After"]
        assert serve.client.get(f"/sessions/{session}").json()["position"] == 5
        assert serve.client.post(f"/sessions/{session}/fork").status_code == 507
        assert redis.xlen(keys.JOBS) == 0
        redis.config_set("maxmemory", 0)
    until(serve.ready)
    resumed = serve.generate(session_id=session, length=5)
    assert values(resumed) == [row[5:] for row in values(serve.generate(model="pixels", length=10, seed=3))]


def test_a_worker_that_starts_while_redis_is_full_answers_what_waits(start: Callable[..., Serve]) -> None:
    serve = start()
    session = serve.generate(model="pixels", length=5, seed=3, save=True)["session_id"]
    bodies = [{"session_id": session, "length": 5, "stream": True}, {"model": "pixels", "length": 5}]
    with connect(serve.redis_url) as redis, ThreadPoolExecutor(2) as pool:
        worker = serve.child("worker")
        worker.suspend()
        time.sleep(0.6)
        answers = [pool.submit(serve.client.post, "/generate", json=body) for body in bodies]
        until(lambda: redis.xlen(keys.JOBS) == 2)
        redis.config_set("maxmemory", 1)
        worker.kill()
        assert [answer.result().status_code for answer in answers] == [507, 507]
        redis.config_set("maxmemory", 0)
    until(serve.ready)
    assert serve.generate(session_id=session, length=5)["position"] == 10


def test_what_cannot_be_read_stops_nobody(serve: Serve) -> None:
    with connect(serve.redis_url) as redis:
        redis.xadd(keys.JOBS, {"job": b"garbage"})
        redis.set(keys.beat("other"), b"garbage", px=5000)
        redis.zadd(keys.WORKERS, {"other": time.time()})
        for api in redis.scan_iter("vssm:api:*", count=1000):
            assert isinstance(api, bytes)
            redis.xadd(keys.replies(api.decode().split(":")[-1]), {"reply": b"garbage"})
        until(lambda: redis.xlen(keys.JOBS) == 0)
        assert redis.xrevrange(keys.ASIDE, count=1)[0][1] == {b"job": b"garbage"}
        redis.delete(keys.ASIDE)
    assert serve.generate(model="pixels", length=5)["position"] == 5


def test_redis_that_refuses_connections_is_told_at_once(start: Callable[..., Serve]) -> None:
    serve = start()
    redis_process = serve.child("valkey-server")
    redis_process.kill()
    redis_process.wait(5)
    began = time.monotonic()
    response = serve.client.post("/generate", json={"model": "pixels", "length": 5})
    if response.status_code != 200:  # the supervisor may have been quicker
        assert response.status_code == 503
        assert response.json()["error"]["type"] in ("redis_unavailable", "no_worker")
        assert response.headers["Retry-After"]
        assert time.monotonic() - began < 1
    until(serve.ready, 20)
    assert serve.generate(model="pixels", length=5)["position"] == 5


def test_a_job_that_was_handed_out_unnoticed_is_run(start: Callable[..., Serve]) -> None:
    """As when Redis is slow: it runs XREADGROUP after the worker has given the connection up."""
    serve = start()
    worker = serve.child("worker")
    with connect(serve.redis_url) as redis, ThreadPoolExecutor(1) as pool:
        [consumer] = redis.xinfo_consumers(keys.JOBS, keys.GROUP)
        worker.suspend()
        time.sleep(0.6)  # longer than the worker waits for a job, so that none is handed to it
        answer = pool.submit(serve.generate, model="pixels", length=5)
        until(lambda: redis.xlen(keys.JOBS))
        taken = redis.xreadgroup(keys.GROUP, consumer["name"], {keys.JOBS: ">"})
        worker.resume()
        assert taken
        assert answer.result()["position"] == 5


@pytest.mark.slow
def test_a_request_that_kills_its_workers_is_given_up_and_kept(start: Callable[..., Serve]) -> None:
    serve = start(max_request_steps=2**21)
    deadly = {"model": "pixels", "length": 2**17, "num_samples": 16, "seed": 11}
    headers = {"Idempotency-Key": "deadly"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(serve.client.post, "/generate", json=deadly, headers=headers)
        for _ in range(3):
            until(lambda: serve.metric("vssm_requests_running") == 1)
            serve.child("worker").kill()
            until(lambda: serve.metric("vssm_workers") == 0)
        given_up = answer.result()
    assert given_up.status_code == 500
    assert "3 workers died" in given_up.json()["error"]["message"]
    with connect(serve.redis_url) as redis:
        assert redis.xlen(keys.ASIDE) == 1
        assert redis.xlen(keys.JOBS) == 0
    again = serve.client.post("/generate", json=deadly, headers=headers)
    first, second = (answer.json()["error"] for answer in (given_up, again))
    assert second | {"request_id": None} == first | {"request_id": None}  # a retry does not kill three more
    assert serve.generate(model="pixels", length=5)["position"] == 5


@pytest.mark.slow
def test_a_worker_that_hangs_ends_and_its_job_is_taken_over(start: Callable[..., Serve]) -> None:
    serve = start(stall_seconds=0.2, chunk_steps=2**17, pass_steps=2**23, max_request_steps=2**23)
    endless = {"model": "pixels", "length": 2**17, "num_samples": 64}  # one pass of seconds
    answer = serve.client.post("/generate", json=endless)
    assert answer.status_code == 500
    assert "3 workers died" in answer.json()["error"]["message"]
    assert (serve.folder / "log").read_text().count("a pass has hung") == 3
    until(serve.ready)
    assert serve.generate(model="pixels", length=5)["position"] == 5


@pytest.mark.slow
def test_a_worker_outlives_a_long_absence_of_redis(start: Callable[..., Serve]) -> None:
    serve = start(stall_seconds=1.0)
    worker = serve.child("worker").pid
    redis_process = serve.child("valkey-server")
    redis_process.send_signal(signal.SIGSTOP)
    time.sleep(9)
    redis_process.send_signal(signal.SIGCONT)
    until(serve.ready)
    assert serve.generate(model="pixels", length=5)["position"] == 5
    assert serve.child("worker").pid == worker


def test_values_that_are_not_finite_are_an_error(serve: Serve) -> None:
    response = serve.client.post("/generate", json={"model": "exploding", "length": 4})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "non_finite_output"
    events = serve.client.post("/generate", json={"model": "exploding", "length": 4, "stream": True}).text
    assert "non_finite_output" in events


@pytest.fixture
def encrypted(serve: Serve, tmp_path: Path) -> Iterator[str]:
    """URL of a TLS port in front of the common server's Redis."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    opened: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(serve.redis_url.removeprefix("unix://"))
        try:
            await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)
        finally:
            for end in (back, writer):
                end.transport.abort()

    async def listen() -> None:
        done, loop = asyncio.Event(), asyncio.get_running_loop()
        async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            opened.put((port, lambda: loop.call_soon_threadsafe(done.set)))
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    port, close = opened.get(timeout=10)
    yield f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/ca.pem"
    close()
    thread.join()


def test_redis_behind_tls(serve: Serve, beside: Callable[..., Serve], encrypted: str) -> None:
    api = beside(serve, redis_url=encrypted)
    until(api.ready)
    assert api.generate(model="pixels", length=5)["position"] == 5


def test_a_certificate_of_somebody_else_is_not_trusted(
    serve: Serve, beside: Callable[..., Serve], encrypted: str
) -> None:
    api = beside(serve, redis_url=encrypted.split("?")[0])
    response = api.client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "redis_unavailable"


def test_log_lines_as_json(serve: Serve, beside: Callable[..., Serve]) -> None:
    api = beside(serve, log_format="json")
    assert api.stop() == 0
    lines = [json.loads(line) for line in (api.folder / "log").read_text().splitlines()]
    assert lines
    assert all({"timestamp", "level", "logger", "message", "part"} <= set(line) for line in lines)


@pytest.mark.parametrize("part", ["api", "worker"])
def test_health_commands_tell_the_truth(serve: Serve, part: str) -> None:
    def ask(**settings: object) -> "subprocess.CompletedProcess[str]":
        chosen = {"PORT": serve.client.base_url.port, "REDIS_URL": serve.redis_url, **settings}
        environment = {f"VSSM_{name}": str(value) for name, value in chosen.items()}
        environment["http_proxy"] = "http://127.0.0.1:9"  # must not matter
        command = [sys.executable, "-m", "vssm_server", "healthy", part]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)

    good = ask()
    assert (good.returncode, good.stdout) == (0, "healthy\n")
    bad = ask(PORT=1, REDIS_URL=serve.redis_url + "?db=1")
    assert bad.returncode == 1
    assert "error:" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_folder_of_checkpoints(start: Callable[..., Serve], models: str) -> None:
    folder = Path(models.split(",")[0]).parent
    serve = start(models_dir=folder, models="mnist")
    listed = {model["name"]: model["status"] for model in serve.client.get("/models").json()["models"]}
    assert listed["mnist"] == listed["pixels"] == listed["text"] == "ready"
    assert listed["truncated"] == "failed"
    assert serve.generate(model="pixels", length=3)["position"] == 3
