"""Quotas of API keys over HTTP: 429 with the headers that say when to come back, right with several APIs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec
import pytest
from vssm_server.keyring import Document, Scope, make
from vssm_server.quotas import Quotas

from tests.e2e.serving import Serve, until

BOTH: tuple[Scope, ...] = ("generate", "sessions")
KEYS = {
    "slow": make("slow", BOTH, None, Quotas(requests_per_minute=4)),
    "steps": make("steps", BOTH, None, Quotas(steps_per_minute=100)),
    "few": make("few", BOTH, None, Quotas(stored_sessions=2, open_streams=1)),
    "free": make("free", BOTH, None),
}
BODY = {"model": "pixels", "length": 10}


@pytest.fixture(scope="module")
def apis(serve: Serve) -> Iterator[list[Serve]]:
    """Two APIs with keys, on one Redis."""
    document = msgspec.json.encode(Document(tuple(key for key, _ in KEYS.values()))).decode()
    started = [serve.beside(api_keys=document) for _ in range(2)]
    for api in started:
        until(api.alive)
    yield started
    for api in started:
        assert api.stop() == 0


def headers(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name][1]}"}


def post(api: Serve, name: str, path: str = "/generate", **body: object) -> httpx.Response:
    return api.client.post(path, json={**BODY, **body} if path == "/generate" else None, headers=headers(name))


def test_requests_a_minute_over_all_apis(apis: list[Serve]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: post(apis[number % 2], "slow"), range(12)))
    good = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(good), len(refused)) == (4, 8)
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"4"}
    assert sorted(answer.headers["RateLimit-Remaining"] for answer in good) == ["0", "1", "2", "3"]
    for answer in refused:
        assert answer.json()["error"]["type"] == "quota_exceeded"
        assert 1 <= int(answer.headers["Retry-After"]) <= 15
        assert answer.headers["RateLimit-Policy"] == '4;w=60;name="requests"'
    free = post(apis[0], "free")
    assert free.status_code == 200
    assert "RateLimit-Limit" not in free.headers


def test_openai_clients_are_told_in_their_words(apis: list[Serve]) -> None:
    body = {"model": "text", "prompt": "a", "max_tokens": 2}
    answer = apis[0].client.post("/v1/completions", json=body, headers=headers("slow"))
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert answer.headers["Retry-After"]


def test_steps_a_minute(apis: list[Serve]) -> None:
    assert post(apis[0], "steps", num_samples=6).status_code == 200
    assert post(apis[1], "steps", num_samples=6).status_code == 429
    assert post(apis[1], "steps", num_samples=2, prefix=[0, 1]).status_code == 200
    never = post(apis[0], "steps", num_samples=11)
    assert never.status_code == 422
    assert "100 a minute" in never.json()["error"]["message"]


def test_stored_sessions(apis: list[Serve]) -> None:
    saved = [post(apis[number % 2], "few", save=True) for number in range(3)]
    assert [answer.status_code for answer in saved] == [200, 200, 429]
    session = saved[0].json()["session_id"]
    assert post(apis[0], "few", f"/sessions/{session}/fork").status_code == 429
    assert post(apis[0], "few", session_id=session).status_code == 200  # more of what is there
    assert apis[1].client.delete(f"/sessions/{session}", headers=headers("few")).status_code == 204
    copy = post(apis[0], "few", f"/sessions/{saved[1].json()['session_id']}/fork")
    assert copy.status_code == 201
    assert post(apis[1], "few", save=True).status_code == 429


def test_open_streams_end(apis: list[Serve]) -> None:
    long = {"stream": True, "length": 100_000, "num_samples": 2}
    with apis[0].client.stream("POST", "/generate", json=BODY | long, headers=headers("few")) as first:
        assert first.status_code == 200
        assert post(apis[1], "few", stream=True).status_code == 429
        assert post(apis[1], "few").status_code == 200
    until(lambda: post(apis[1], "few", stream=True).status_code == 200)  # the first was cancelled
