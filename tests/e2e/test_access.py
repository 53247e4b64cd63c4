"""Cross-key access: every operation of the interface, tried by everybody who may not. None of the tries may succeed.

The operations come from the server's own openapi.json and its routes: a new one fails here until it is classified.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from vssm_server import keyfile
from vssm_server.api.app import create_app
from vssm_server.keyring import Document, Scope
from vssm_server.settings import Settings

from tests.e2e.keyed import keys_in
from tests.e2e.serving import Serve, until

OPEN, ANY = "open", "any key"
NEEDS = {
    ("GET", "/livez"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): "metrics",
    ("GET", "/models"): ANY,
    ("GET", "/models/{name}"): ANY,
    ("GET", "/v1/models"): ANY,
    ("GET", "/v1/models/{name}"): ANY,
    ("POST", "/generate"): "generate",
    ("POST", "/v1/completions"): "generate",
    ("POST", "/v1/images/generations"): "generate",
    ("GET", "/sessions/{session_id}"): "sessions",
    ("DELETE", "/sessions/{session_id}"): "sessions",
    ("POST", "/sessions/{session_id}/fork"): "sessions",
}
PAGES = {"/", "/docs", "/docs/assets", "/favicon.ico", "/openapi.json", "/playground"}  # open, for people
FRESH = {"model": "pixels", "length": 3}
BODIES: dict[str, list[dict[str, Any] | None]] = {
    "/generate": [
        FRESH,
        FRESH | {"stream": True},
        FRESH | {"save": True},
        {"session_id": "{session_id}", "length": 1},
        {"session_id": "{session_id}", "length": 1, "stream": True},
        {"session_id": "{session_id}", "length": 1, "session_version": 1},
        {"session_id": "{session_id}", "length": 0, "prefix": [1, 0]},
    ],
    "/v1/completions": [
        {"model": "text", "prompt": "a", "max_tokens": 2},
        {"model": "text", "prompt": "a", "stream": True},
    ],
    "/v1/images/generations": [{"model": "image", "prompt": ""}],
    "/sessions/{session_id}/fork": [None, {"ttl_seconds": 60}],
}
SCOPES: dict[str, tuple[Scope, ...]] = {
    "alice": ("generate", "sessions"),
    "bob": ("generate", "sessions"),
    "root": ("admin",),
    "drawer": ("generate",),
    "keeper": ("sessions",),
    "prom": ("metrics",),
    "gone": ("admin",),
}
Try = tuple[str, str, dict[str, Any] | None, dict[str, str]]  # method, path, body, headers


def routes(of: Iterable[Any]) -> Iterator[str]:
    """Every path that the application knows, described or not."""
    for route in of:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from routes(inner.routes)
        else:
            yield route.path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file of keys, and the key of each name; `late` has expired, `gone` is going to be revoked."""
    return keys_in(tmp_path_factory.mktemp("keys"), SCOPES)


@pytest.fixture(scope="module")
def api(serve: Serve, texts: tuple[Path, dict[str, str]]) -> Iterator[Serve]:
    """An API with those keys beside the common server; `gone` was let in before it was revoked."""
    path, keys = texts
    api = serve.beside(api_keys_file=path)
    until(api.alive)
    gone = {"Authorization": f"Bearer {keys['gone']}"}
    until(lambda: api.client.get("/models", headers=gone).status_code == 200)
    keyfile.change(path, lambda document: Document(tuple(key for key in document.keys if key.name != "gone")))
    until(lambda: api.client.get("/models", headers=gone).status_code == 401)
    yield api
    assert api.stop() == 0


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(api: Serve, texts: tuple[Path, dict[str, str]]) -> Ask:
    """A try of somebody: of a name, of nobody, or of who made a key up."""

    def send(
        who: str | None, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Any:
        key = {} if who is None else {"Authorization": f"Bearer {texts[1].get(who, who)}"}
        url = f"{str(api.client.base_url).rstrip('/')}{path}"  # whole, as //path alone would be a host
        return api.client.request(method, url, json=body, headers={**key, **(headers or {})})

    return send


def tries(session: str) -> list[Try]:
    """Every operation in each of its forms, on somebody's session where it is about one."""
    found: list[Try] = []
    for method, template in NEEDS:
        path = template.replace("{session_id}", session).replace("{name}", "pixels")
        for body in BODIES.get(template, [None]):
            filled = body and {name: session if value == "{session_id}" else value for name, value in body.items()}
            found.append((method, path, filled, {}))
            if method == "POST":
                found.append((method, path, filled, {"Idempotency-Key": f"try {len(found)}"}))
            if method == "POST" and not (filled and filled.get("stream")):
                found.append((method, path, filled, {"Accept": "application/x-npy"}))
    return found


def need(one: Try) -> str:
    """The scope that it takes, or what else; saving and resuming take `sessions` as well."""
    method, path, body, _ = one
    template = "/sessions/{session_id}" + path[len("/sessions/") + 37 :] if path.startswith("/sessions/") else path
    template = template.replace("/pixels", "/{name}")
    touches = body is not None and ("session_id" in body or body.get("save"))
    return "sessions too" if touches else NEEDS[method, template]


def may(scopes: tuple[Scope, ...], wanted: str) -> bool:
    return "admin" in scopes or {"sessions too": {"generate", "sessions"}}.get(wanted, {wanted} - {ANY}) <= set(scopes)


def test_every_operation_is_classified(api: Serve) -> None:
    described = api.client.get("/openapi.json").json()["paths"]
    assert {(method.upper(), path) for path, methods in described.items() for method in methods} == set(NEEDS)
    known = {path.replace(":path", "") for path in routes(create_app(Settings(redis_url="redis://none")).routes)}
    assert known == {path for _, path in NEEDS} | PAGES


def test_nobody_is_let_in_who_is_not_known(ask: Ask, texts: tuple[Path, dict[str, str]]) -> None:
    alice = texts[1]["alice"]
    session = ask("alice", "POST", "/generate", FRESH | {"save": True}).json()["session_id"]
    wrong = [None, "late", "gone", "x", "vssm_000000000000_x", alice[:-1] + chr(ord(alice[-1]) ^ 1), alice.upper()]
    for who in wrong:
        for one in tries(session):
            answer = ask(who, *one)
            assert (answer.status_code == 401) == (need(one) != OPEN), (who, one)
    for who in (None, "late"):
        for method in ("PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "POST", "DELETE"):
            for path in (f"/sessions/{session}", "/generate", "/metrics", "/models", "/nothing"):
                assert ask(who, method, path).status_code == 401, (who, method, path)
    assert ask("alice", "DELETE", f"/sessions/{session}").status_code == 204


@pytest.mark.parametrize("who", ["drawer", "keeper", "prom"])
def test_a_key_does_what_its_scopes_say(ask: Ask, who: str) -> None:
    session = ask("alice", "POST", "/generate", FRESH | {"save": True}).json()["session_id"]
    for one in tries(session):
        allowed = need(one) == OPEN or may(SCOPES[who], need(one))
        assert (ask(who, *one).status_code == 403) == (not allowed), one


@pytest.mark.parametrize("who", ["bob", "root"])
def test_a_session_of_another_key_is_not_there(ask: Ask, who: str) -> None:
    """Whatever is tried: the answer is that of a session that never was, and its owner notices nothing."""
    session, other = (ask("alice", "POST", "/generate", FRESH | {"save": True}).json()["session_id"] for _ in range(2))
    before = ask("alice", "GET", f"/sessions/{session}").json() | {"expires": ""}  # told to the millisecond, roughly
    attacks = [one for one in tries(session) if session in f"{one[1]} {one[2]}"]
    assert len(attacks) == 4 * 3 - 1 + 2 + 2 * 3
    for one in attacks:
        answer = ask(who, *one)
        assert answer.status_code == 404, one
        assert answer.json()["error"]["type"] == "session_not_found"
    assert ask("alice", "GET", f"/sessions/{session}").json() | {"expires": ""} == before
    resumed, twin = (
        ask("alice", "POST", "/generate", {"session_id": one, "length": 5}).json() for one in (session, other)
    )
    assert resumed["position"] == twin["position"] == 8


VARIANTS = [
    "{}/",
    "/{}",
    "{}//",
    "{}%2f",
    "{}?x",
    "{};x",
    "/.{}",
    "/docs/..{}",
    "/docs/assets/..{}",
    "/playground/%2e%2e{}",
    "{}%00",
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_spellings_of_a_path_open_nothing(ask: Ask, variant: str) -> None:
    session = ask("alice", "POST", "/generate", FRESH | {"save": True}).json()["session_id"]
    paths = [("GET", f"/sessions/{session}"), ("GET", f"/%73essions/{session}"), ("GET", "/SESSIONS/" + session)]
    paths += [("DELETE", f"/sessions/{session}"), ("POST", f"/sessions/{session}/fork"), ("GET", "/metrics")]
    for method, path in paths:
        spelled = variant.format(path)
        assert ask(None, method, spelled).status_code in (401, 404, 405), spelled
        for who in ("drawer", *(["bob", "root"] if "sessions" in path else ["bob"])):
            assert not ask(who, method, spelled).is_success, (who, spelled)
    assert ask("alice", "GET", f"/sessions/{session}").status_code == 200
