"""What a caller can follow: request ids, timings, and the lines about a request in the log."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.serving import Serve, until

TINY = {"model": "pixels", "length": 3}
MADE = re.compile(r"req_[0-9a-f]{32}")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/generate", TINY, 200),
        ("POST", "/generate", {**TINY, "stream": True}, 200),
        ("POST", "/generate", {**TINY, "length": -1}, 422),
        ("POST", "/v1/completions", {"model": "text", "prompt": "a", "max_tokens": 3}, 200),
        ("POST", "/v1/completions", {"model": "text", "prompt": "a", "n": -3}, 400),
        ("GET", "/models", None, 200),
        ("GET", "/sessions/none", None, 404),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_every_answer_has_the_id(serve: Serve, method: str, path: str, body: object, status: int) -> None:
    own = "order-7/retry:2"
    response = serve.client.request(method, path, json=body, headers={"X-Request-ID": own})
    assert (response.status_code, response.headers.get_list("X-Request-ID")) == (status, [own])
    if status >= 400:
        assert response.json()["error"]["request_id"] == own


def test_too_large_a_body_too(serve: Serve) -> None:
    response = serve.client.post("/generate", content=b" " * (9 << 20), headers={"X-Request-ID": "big"})
    assert (response.status_code, response.headers["X-Request-ID"]) == (413, "big")
    assert response.json()["error"]["request_id"] == "big"


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, 'a"b', "ä", "<script>", "a%0ab"])
def test_unfit_ids_are_replaced(serve: Serve, sent: str) -> None:
    response = serve.client.get("/models", headers={b"X-Request-ID": sent.encode()})
    assert MADE.fullmatch(response.headers["X-Request-ID"])


def test_two_ids_are_none(serve: Serve) -> None:
    response = serve.client.get("/models", headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")])
    assert MADE.fullmatch(response.headers["X-Request-ID"])


def timings(header: str) -> dict[str, float]:
    """By name, in milliseconds."""
    parts = [re.fullmatch(r"([a-z-]+);dur=([0-9.]+)", part) for part in header.split(", ")]
    return {part[1]: float(part[2]) for part in parts if part}


def test_server_timing(serve: Serve) -> None:
    whole = serve.client.post("/generate", json=TINY)
    found = timings(whole.headers["Server-Timing"])
    assert found["queue"] + found["generate"] <= found["total"]
    assert whole.json()["timings"]["generate_ms"] == found["generate"]
    stream = serve.client.post("/generate", json={**TINY, "stream": True})
    assert set(timings(stream.headers["Server-Timing"])) == {"queue", "first-chunk"}
    text = {"model": "text", "prompt": ["a", "b"], "max_tokens": 3}
    assert set(timings(serve.client.post("/v1/completions", json=text).headers["Server-Timing"])) == set(found)
    again = {"Idempotency-Key": "timed"}
    serve.client.post("/generate", json=TINY, headers=again)
    replayed = serve.client.post("/generate", json=TINY, headers=again)
    assert set(timings(replayed.headers["Server-Timing"])) == {"total"}


def records(serve: Serve) -> list[dict[str, Any]]:
    """The lines of API and worker; what `serve` and Valkey say is not JSON."""
    lines = (serve.folder / "log").read_text().split("\n")
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_json_lines_of_api_and_worker(start: Callable[..., Serve]) -> None:
    serve = start(log_format="json")
    serve.client.post("/generate", json={**TINY, "save": True}, headers={"X-Request-ID": "one"})
    serve.client.post("/generate", json={**TINY, "model": "no"}, headers={"X-Request-ID": "two"})
    attack = "/models/x%0a%7B%22level%22:%22ERROR%22%7D%E2%80%A8?secret=1"
    serve.client.get(attack, headers={"X-Request-ID": "three"})
    until(lambda: any(line.get("request_id") == "three" for line in records(serve)))
    by_part = {(line["part"], line.get("request_id")): line for line in records(serve)}
    api, worker = by_part["api", "one"], by_part["worker", "one"]
    assert (api["method"], api["path"], api["status"], api["model"]) == ("POST", "/generate", 200, "pixels")
    assert api["ms"] > worker["generate_ms"] > 0
    assert (worker["outcome"], worker["model"]) == ("done", "pixels")
    assert (by_part["api", "two"]["status"], by_part["api", "two"]["model"]) == (404, None)
    assert by_part["api", "three"]["path"] == attack.partition("?")[0]
    assert not [line for line in records(serve) if line.get("path") in ("/readyz", "/livez", "/metrics")]
    for line in records(serve):
        assert {"timestamp", "level", "logger", "message", "part"} <= set(line)
