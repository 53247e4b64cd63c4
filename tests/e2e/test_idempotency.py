"""Idempotency-Key: one run and one answer, however often, wherever and in whatever trouble a request is sent again."""

import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from vssm_server.connect import connect

from tests.e2e.serving import Serve, parse, streamed, until, values

LONG = {"model": "pixels", "length": 100_000}


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def without_timings(response: httpx.Response) -> dict[str, object]:
    assert response.status_code == 200, response.text
    return {name: value for name, value in response.json().items() if name != "timings"}


@pytest.mark.parametrize("extra", [{}, {"save": True}, {"prefix": [0, 1, 1]}])
def test_the_same_answer_again(serve: Serve, extra: dict[str, object]) -> None:
    headers = keyed()
    body = {"model": "pixels", "length": 20, "num_samples": 2, **extra}
    first, second = (serve.client.post("/generate", json=body, headers=headers) for _ in range(2))
    assert without_timings(first) == without_timings(second)
    assert [answer.headers.get("Idempotency-Replayed") for answer in (first, second)] == [None, "true"]
    other = serve.client.post("/generate", json=body, headers=keyed())
    assert without_timings(other)["outputs"] != without_timings(first)["outputs"]  # the control: seeds differ


def test_a_resume_advances_once(serve: Serve) -> None:
    session = serve.generate(model="pixels", length=5, seed=1, save=True)["session_id"]
    headers, body = keyed(), {"session_id": session, "length": 7}
    answers = [serve.client.post("/generate", json=body, headers=headers) for _ in range(3)]
    assert [answer.json()["position"] for answer in answers] == [12] * 3
    assert serve.client.get(f"/sessions/{session}").json()["position"] == 12
    serve.client.delete(f"/sessions/{session}")
    late = serve.client.post("/generate", json=body, headers=headers)
    assert without_timings(late) == without_timings(answers[0])


def test_twenty_at_once_run_once(serve: Serve) -> None:
    session = serve.generate(model="pixels", length=5, seed=1, save=True)["session_id"]
    headers, body = keyed(), {"session_id": session, "length": 20_000}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: serve.client.post("/generate", json=body, headers=headers), range(20)))
    assert all(without_timings(answer) == without_timings(answers[0]) for answer in answers)
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert serve.client.get(f"/sessions/{session}").json()["position"] == 20_005


@pytest.mark.parametrize("media_type", ["image/png", "application/x-npy"])
def test_other_forms_of_the_same_answer(serve: Serve, media_type: str) -> None:
    headers, body = {**keyed(), "Accept": media_type}, {"model": "image"}
    first, second = (serve.client.post("/generate", json=body, headers=headers) for _ in range(2))
    assert first.status_code == 200
    assert first.content == second.content
    assert first.headers["content-type"] == media_type


def test_a_stream_again(serve: Serve) -> None:
    headers, body = keyed(), {"model": "pixels", "length": 3000, "stream": True, "save": True}
    first, second = (parse(serve.client.post("/generate", json=body, headers=headers).text) for _ in range(2))
    assert streamed(first) == streamed(second)
    assert first[-1][1]["session_id"] == second[-1][1]["session_id"]
    assert [name for name, _ in second] == ["chunk", "done"]


def test_another_body_is_refused(serve: Serve) -> None:
    headers = keyed()
    serve.client.post("/generate", json={"model": "pixels", "length": 2}, headers=headers)
    response = serve.client.post("/generate", json={"model": "pixels", "length": 3}, headers=headers)
    assert response.status_code == 422
    assert response.json()["error"]["type"] == "idempotency_mismatch"
    session = serve.generate(model="pixels", length=5, save=True)["session_id"]
    forked = serve.client.post(f"/sessions/{session}/fork", headers=headers)
    assert forked.json()["error"]["type"] == "idempotency_mismatch"
    fork_headers = keyed()
    assert serve.client.post(f"/sessions/{session}/fork", headers=fork_headers).status_code == 201
    other = serve.client.post("/generate", json={"model": "pixels", "length": 2}, headers=fork_headers)
    assert other.json()["error"]["type"] == "idempotency_mismatch"


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9".encode()])
def test_keys_that_are_none(serve: Serve, key: str | bytes) -> None:
    headers = {b"Idempotency-Key": key.encode() if isinstance(key, str) else key}
    response = serve.client.post("/generate", json={"model": "pixels", "length": 2}, headers=headers)
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "Idempotency-Key"


def test_two_keys_are_refused(serve: Serve) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = serve.client.post("/generate", json={"model": "pixels", "length": 2}, headers=headers)
    assert response.status_code == 422
    assert "sent 2 times" in response.json()["error"]["message"]


def test_a_refused_request_may_be_mended_under_its_key(serve: Serve) -> None:
    headers = keyed()
    wrong = serve.client.post("/generate", json={"model": "pixels", "length": -1}, headers=headers)
    assert wrong.status_code == 422
    assert serve.client.post("/generate", json={"model": "pixels", "length": 1}, headers=headers).status_code == 200


def test_fork_makes_one_copy(serve: Serve) -> None:
    session = serve.generate(model="pixels", length=5, save=True)["session_id"]
    headers = keyed()
    copies = {serve.client.post(f"/sessions/{session}/fork", headers=headers).json()["id"] for _ in range(3)}
    assert len(copies) == 1
    assert serve.client.post(f"/sessions/{session}/fork", headers=headers).headers["Idempotency-Replayed"] == "true"
    assert serve.client.post(f"/sessions/{session}/fork", headers=keyed()).json()["id"] not in copies


def test_a_client_that_left_finds_its_answer(serve: Serve) -> None:
    session = serve.generate(model="pixels", length=5, seed=1, save=True)["session_id"]
    headers, body = keyed(), {"session_id": session, "length": 100_000}
    with pytest.raises(httpx.ReadTimeout):
        serve.client.post("/generate", json=body, headers=headers, timeout=0.3)
    answer = serve.client.post("/generate", json=body, headers=headers)
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert answer.json()["position"] == 100_005


def test_an_api_that_died_is_replaced_by_another(start: Callable[..., Serve], beside: Callable[..., Serve]) -> None:
    serve = start(max_request_steps=10**6)
    other = beside(serve)
    until(other.ready)
    session = serve.generate(model="pixels", num_samples=8, length=5, seed=1, save=True)["session_id"]
    headers, body = keyed(), {"session_id": session, "length": 100_000}

    def ask() -> httpx.Response:
        return serve.client.post("/generate", json=body, headers=headers)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        until(lambda: other.metric("vssm_requests_running") == 1)
        assert not first.done()
        serve.child("api").kill()
        with pytest.raises(httpx.HTTPError):
            first.result()
    answer = other.client.post("/generate", json=body, headers=headers)
    assert answer.json()["position"] == 100_005
    whole = values(other.generate(model="pixels", length=1000, seed=1, num_samples=8))
    assert [row[:995] for row in values(answer.json())] == [row[5:] for row in whole]
    assert other.client.get(f"/sessions/{session}").json()["position"] == 100_005


def test_records_expire(serve: Serve) -> None:
    headers = keyed()
    serve.client.post("/generate", json={"model": "pixels", "length": 2}, headers=headers)
    client = connect(serve.redis_url)
    lives = [client.pttl(name) for name in client.scan_iter("vssm:idempotency:*", count=1000)]
    client.close()
    assert lives
    assert all(0 < life <= 720_000 for life in lives)


def test_a_failed_request_runs_when_it_is_sent_again(serve: Serve, beside: Callable[..., Serve]) -> None:
    """A deadline that is too short the first time: nothing is saved, and the second time it runs."""
    hasty = beside(serve, deadline_seconds=0.15)
    session = serve.generate(model="pixels", length=5, seed=1, save=True)["session_id"]
    headers, body = keyed(), {"session_id": session, "length": 50_000}
    assert hasty.client.post("/generate", json=body, headers=headers).status_code == 504
    answer = serve.client.post("/generate", json=body, headers=headers)
    assert answer.json()["position"] == 50_005, answer.text


def test_nothing_is_kept_for_clients_that_left(serve: Serve) -> None:
    """Their requests are run, as they may ask again; but nobody waits for the answers."""
    url = serve.client.base_url
    for number in range(100):
        sent = httpx.Request("POST", url.join("/generate"), json={"model": "pixels", "length": 1}, headers=keyed())
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
        with socket.create_connection((url.host, url.port or 80)) as link:
            link.sendall(f"POST /generate HTTP/1.1\r\n{head}\r\n".encode() + sent.read())
            time.sleep(number % 10 / 1000)
    until(lambda: "vssm_requests_active 0.0" in serve.client.get("/metrics").text.splitlines(), 20)
