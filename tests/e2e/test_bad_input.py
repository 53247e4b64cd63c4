"""Everything that can be wrong with a request: the documented status and body, and the server goes on."""

import time
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Serve

MISSING = "sess_" + "0" * 32
TABLE: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"model": "nothing"}, 404, "model_not_found", "model"),
    ({"model": "../../etc/passwd"}, 404, "model_not_found", "model"),
    ({}, 422, "invalid_value", "model"),
    ({"model": 5}, 422, "invalid_value", "model"),
    ({"model": "truncated"}, 503, "model_failed", "model"),
    ({"model": "shapes"}, 503, "model_failed", "model"),
    ({"model": "version"}, 503, "model_failed", "model"),
    ({"model": "pixels", "length": 0}, 422, "invalid_value", "length"),
    ({"model": "pixels", "length": -1}, 422, "invalid_value", "length"),
    ({"model": "pixels", "length": 10**9}, 422, "invalid_value", "length"),
    ({"model": "pixels", "length": 2**70}, 422, "invalid_value", "length"),
    ({"model": "pixels", "length": 1.5}, 422, "invalid_value", "length"),
    ({"model": "pixels", "length": "5"}, 422, "invalid_value", "length"),
    ({"model": "pixels", "length": True}, 422, "invalid_value", "length"),
    ({"model": "pixels", "num_samples": 0}, 422, "invalid_value", "num_samples"),
    ({"model": "pixels", "num_samples": 10**6}, 422, "invalid_value", "num_samples"),
    ({"model": "pixels", "num_samples": 1000, "length": 90_000}, 422, "invalid_value", "length"),
    ({"model": "pixels", "seed": -1}, 422, "invalid_value", "seed"),
    ({"model": "pixels", "seed": 2**63}, 422, "invalid_value", "seed"),
    ({"model": "pixels", "seed": 2**64}, 422, "invalid_value", "seed"),
    ({"model": "pixels", "temperature": -0.1}, 422, "invalid_value", "temperature"),
    ({"model": "pixels", "temperature": 1e300}, 422, "invalid_value", "temperature"),
    ({"model": "pixels", "output": "median"}, 422, "invalid_value", "output"),
    ({"model": "pixels", "stream": "yes"}, 422, "invalid_value", "stream"),
    ({"model": "pixels", "ttl_seconds": 0}, 422, "invalid_value", "ttl_seconds"),
    ({"model": "pixels", "save": True, "ttl_seconds": 10**9}, 422, "invalid_value", "ttl_seconds"),
    ({"model": "pixels", "lenght": 5}, 422, "invalid_value", "lenght"),
    ({"model": "pixels", "prefix": []}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "prefix": [0, 2]}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "prefix": [0, -1]}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "prefix": [[0, 1]]}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "prefix": [0, None]}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "prefix": [True]}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "prefix": "0101"}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "prefix": {"0": 1}}, 422, "invalid_value", "prefix"),
    ({"model": "image", "prefix": [0, 1]}, 422, "invalid_value", "prefix"),
    ({"model": "image", "prefix": [[0] * 7]}, 422, "invalid_value", "prefix"),
    ({"model": "image", "prefix": [[0] * 8, [0] * 7]}, 422, "invalid_value", "prefix"),
    ({"model": "image", "prefix": [[0] * 8] * 8}, 422, "invalid_value", "length"),
    ({"model": "series", "prefix": [[1e300, 0]]}, 422, "invalid_value", "prefix"),
    ({"model": "blind", "prefix": [0, 1]}, 422, "invalid_value", "prefix"),
    ({"model": "whole", "num_samples": 1000, "prefix": [0] * 300}, 422, "invalid_value", "prefix"),
    ({"model": "pixels", "max_passes": 2}, 422, "invalid_value", "max_passes"),
    ({"model": "exact", "max_passes": 0}, 422, "invalid_value", "max_passes"),
    ({"model": "exact", "prefix": [0], "num_particles": 2}, 422, "invalid_value", "num_particles"),
    ({"model": "pixels", "num_particles": 2}, 422, "invalid_value", "num_particles"),
    ({"model": "pixels", "prefix": [0], "num_particles": 0}, 422, "invalid_value", "num_particles"),
    ({"model": "pixels", "prefix": [0], "num_particles": 65}, 422, "invalid_value", "num_particles"),
    ({"model": "colour", "prefix": [[0] * 12], "num_particles": 2}, 422, "invalid_value", "num_particles"),
    ({"model": "pixels", "prefix": [0], "num_samples": 17, "num_particles": 64}, 422, "invalid_value", "num_particles"),
    ({"session_id": MISSING}, 404, "session_not_found", "session_id"),
    ({"session_id": "../x"}, 404, "session_not_found", "session_id"),
    ({"session_id": ""}, 404, "session_not_found", "session_id"),
    ({"session_id": "x" * 10_000}, 404, "session_not_found", "session_id"),
    ({"session_id": 7}, 422, "invalid_value", "session_id"),
]


def check(serve: Serve, response: httpx.Response, code: int, kind: str, param: str | None = None) -> str:
    """The documented body; and the next request is answered."""
    assert response.status_code == code, response.text
    error = response.json()["error"]
    assert set(error) == {"type", "message", "param", "code", "request_id"}
    assert error["request_id"] == response.headers["X-Request-ID"]
    assert (error["type"], error["param"], error["code"]) == (kind, param, code)
    assert serve.client.get("/livez").status_code == 200
    message: str = error["message"]
    return message


@pytest.mark.parametrize(("body", "code", "kind", "param"), TABLE)
def test_fields(serve: Serve, body: dict[str, Any], code: int, kind: str, param: str | None) -> None:
    check(serve, serve.client.post("/generate", json=body), code, kind, param)
    if code == 422:
        check(
            serve, serve.client.post("/generate", json={**body, "stream": body.get("stream", True)}), code, kind, param
        )


@pytest.mark.parametrize(
    ("content", "code", "kind"),
    [
        (b"", 400, "invalid_request"),
        (b"{", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b"null", 400, "invalid_request"),
        (b'"x"', 400, "invalid_request"),
        (b'{"temperature": NaN}', 400, "invalid_request"),
        (b'{"prefix": [Infinity]}', 400, "invalid_request"),
        (b'{"model": "\xff"}', 400, "invalid_request"),
        (b"[" * 1_000_000, 400, "invalid_request"),
        (b'{"prefix":' * 100_000, 400, "invalid_request"),
        (b'{"model": "pixels", "seed": 1' + b"0" * 4000 + b"}", 400, "invalid_request"),
    ],
)
def test_broken_json(serve: Serve, content: bytes, code: int, kind: str) -> None:
    response = serve.client.post("/generate", content=content, headers={"Content-Type": "application/json"})
    check(serve, response, code, kind)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_content_type(serve: Serve, content_type: str) -> None:
    response = serve.client.post("/generate", content=b"{}", headers={"Content-Type": content_type})
    check(serve, response, 415, "unsupported_media_type")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_a_hundred_megabytes(serve: Serve, chunked: bool) -> None:
    piece = b" " * 2**20
    content = (piece for _ in range(100)) if chunked else piece * 100
    response = serve.client.post("/generate", content=content, headers={"Content-Type": "application/json"})
    check(serve, response, 413, "body_too_large")


def test_the_closest_field_is_suggested(serve: Serve) -> None:
    response = serve.client.post("/generate", json={"model": "pixels", "lenght": 5})
    assert "perhaps 'length' was meant" in check(serve, response, 422, "invalid_value", "lenght")


def test_why_a_checkpoint_failed_is_said(serve: Serve) -> None:
    response = serve.client.post("/generate", json={"model": "version"})
    assert "99" in check(serve, response, 503, "model_failed", "model")


@pytest.mark.parametrize(
    ("method", "path", "code", "kind", "param"),
    [
        ("GET", "/nothing", 404, "not_found", None),
        ("GET", "/generate", 405, "method_not_allowed", None),
        ("GET", "/models/nothing", 404, "model_not_found", None),
        ("GET", f"/sessions/{MISSING}", 404, "session_not_found", "session_id"),
        ("GET", "/sessions/%00%ff", 404, "session_not_found", "session_id"),
        ("DELETE", f"/sessions/{MISSING}", 404, "session_not_found", "session_id"),
        ("POST", f"/sessions/{MISSING}/fork", 404, "session_not_found", "session_id"),
        ("POST", "/sessions/x/fork", 404, "session_not_found", "session_id"),
    ],
)
def test_paths(serve: Serve, method: str, path: str, code: int, kind: str, param: str | None) -> None:
    check(serve, serve.client.request(method, path), code, kind, param)


def test_a_long_name_is_not_sent_back(serve: Serve) -> None:
    response = serve.client.post("/generate", json={"x" * 50_000: 1})
    assert "is not a field" in check(serve, response, 422, "invalid_value", "x" * 100)
    assert len(response.content) < 1000


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", f"/sessions/{MISSING}", "GET, DELETE"),
        ("GET", "/generate", "POST"),
        ("POST", "/models/image", "GET"),
        ("POST", "/playground/main.js", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_all_right_ones(serve: Serve, method: str, path: str, allowed: str) -> None:
    response = serve.client.request(method, path)
    assert allowed in check(serve, response, 405, "method_not_allowed")
    assert response.headers.get_list("Allow") == [allowed]


@pytest.mark.parametrize(
    ("accept", "body", "code", "kind", "param"),
    [
        ("text/html", {"model": "image"}, 406, "not_acceptable", None),
        ("image/png", {"model": "pixels", "length": 4}, 406, "not_acceptable", None),
        ("image/png", {"model": "image", "length": 3}, 422, "invalid_value", "length"),
        ("image/png", {"model": "image", "stream": True}, 406, "not_acceptable", None),
    ],
)
def test_accept(serve: Serve, accept: str, body: dict[str, Any], code: int, kind: str, param: str | None) -> None:
    check(serve, serve.client.post("/generate", json=body, headers={"Accept": accept}), code, kind, param)


@pytest.mark.parametrize("change", [{"model": "image"}, {"seed": 4}, {"num_samples": 2}])
def test_contradicting_a_session(serve: Serve, change: dict[str, object]) -> None:
    session = serve.generate(model="pixels", length=3, seed=3, save=True)["session_id"]
    response = serve.client.post("/generate", json={"session_id": session, "length": 2, **change})
    check(serve, response, 409, "session_conflict", next(iter(change)))
    assert serve.generate(session_id=session, length=2, seed=3)["position"] == 5


def test_an_expired_session(serve: Serve) -> None:
    session = serve.generate(model="pixels", length=3, save=True, ttl_seconds=1)["session_id"]
    time.sleep(1.2)
    response = serve.client.post("/generate", json={"session_id": session, "length": 2})
    check(serve, response, 404, "session_not_found", "session_id")
