"""API keys and owners over HTTP: who is let in, and that nobody reaches what is another's."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from vssm_client import Client, Generation
from vssm_client.errors import ForbiddenError, SessionNotFoundError, UnauthorizedError
from vssm_server import keyfile
from vssm_server.keyring import Document, Scope, make

from tests.e2e.keyed import keys_in
from tests.e2e.serving import Serve, until

SCOPES: dict[str, tuple[Scope, ...]] = {
    "alice": ("generate", "sessions"),
    "bob": ("generate", "sessions"),
    "drawer": ("generate",),
    "prom": ("metrics",),
    "root": ("admin",),
}
BODY = {"model": "pixels", "length": 4}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file, and the key of each name."""
    return keys_in(tmp_path_factory.mktemp("keys"), SCOPES)


@pytest.fixture(scope="module")
def guarded(serve: Serve, keys: tuple[Path, dict[str, str]]) -> Iterator[Serve]:
    """An API with keys beside the common server."""
    api = serve.beside(api_keys_file=keys[0])
    until(api.alive)
    yield api
    assert api.stop() == 0
    log = (api.folder / "log").read_text()
    assert not any(text in log for text in keys[1].values())


@pytest.fixture
def ask(guarded: Serve, keys: tuple[Path, dict[str, str]]) -> Callable[..., httpx.Response]:
    """A request of somebody."""

    def send(name: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {} if name is None else {"Authorization": f"Bearer {keys[1].get(name, name)}"}
        return guarded.client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)

    return send


Ask = Callable[..., httpx.Response]


def test_what_is_open(ask: Ask) -> None:
    for path in ("/", "/playground/main.js", "/docs", "/docs/assets/swagger-ui.css", "/openapi.json", "/favicon.ico"):
        assert ask(None, "GET", path).status_code == 200, path
    assert ask(None, "GET", "/livez").status_code == 200
    assert ask(None, "GET", "/readyz").status_code == 200
    assert ask(None, "GET", "/playground/%2e%2e/metrics").status_code == 404


GUARDED = [
    ("GET", "/metrics", "metrics"),
    ("GET", "/models", None),
    ("GET", "/models/pixels", None),
    ("GET", "/v1/models", None),
    ("POST", "/generate", "generate"),
    ("POST", "/v1/completions", "generate"),
    ("POST", "/v1/images/generations", "generate"),
    ("GET", "/sessions/x", "sessions"),
    ("DELETE", "/sessions/x", "sessions"),
    ("POST", "/sessions/x/fork", "sessions"),
    ("GET", "/nothing", None),
    ("GET", "/docs/../metrics", "metrics"),
    ("GET", "/playground/../metrics", "metrics"),
    ("GET", "/metrics/", "metrics"),
]


@pytest.mark.parametrize(("method", "path", "scope"), GUARDED)
def test_everything_else_needs_a_key_with_its_scope(ask: Ask, method: str, path: str, scope: Scope | None) -> None:
    for wrong in (None, "late", "vssm_000000000000_wrong", "x" * 5000):
        refused = ask(wrong, method, path)
        assert refused.status_code == 401, wrong
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert error(refused, path)["code"] in (401, "unauthorized")
    for name, scopes in SCOPES.items():
        status = ask(name, method, path).status_code
        lacks = scope is not None and scope not in scopes and "admin" not in scopes
        assert (status == 403) == lacks, name
        assert status != 401


def error(response: httpx.Response, path: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()["error"]
    assert set(body) == {"message", "type", "param", "code", "request_id"}
    assert body["request_id"] == response.headers["X-Request-ID"]
    if path.startswith("/v1/"):
        assert body["type"] == "invalid_request_error"
    return body


@pytest.mark.parametrize("header", ["", "Bearer", "Basic {}", "{}", "Bearer  x{}", "bearer {} x"])
def test_headers_that_are_not_right(ask: Ask, keys: tuple[Path, dict[str, str]], header: str) -> None:
    headers = {"Authorization": header.replace("{}", keys[1]["alice"])}
    assert ask(None, "GET", "/models", headers=headers).status_code == 401


def test_refusals_are_counted(ask: Ask) -> None:
    def refused() -> dict[str, float]:
        counted = ask("prom", "GET", "/metrics").text
        reasons = ("unauthorized", "forbidden")
        return {
            reason: float(line.rpartition(" ")[2])
            for line in counted.splitlines()
            for reason in reasons
            if line.startswith(f'vssm_failures_total{{reason="{reason}"}}')
        }

    before = refused()
    for name in (None, "x", "drawer"):
        ask(name, "GET", "/sessions/x")
    assert refused() == {"unauthorized": before["unauthorized"] + 2, "forbidden": before["forbidden"] + 1}


def test_two_keys_at_once_are_none(guarded: Serve, keys: tuple[Path, dict[str, str]]) -> None:
    twice = [("Authorization", f"Bearer {keys[1][name]}") for name in ("alice", "bob")]
    assert guarded.client.get("/models", headers=twice).status_code == 401


def test_saving_and_resuming_need_the_scope_of_sessions(ask: Ask) -> None:
    assert ask("drawer", "POST", "/generate", json=BODY).status_code == 200
    for more in ({"save": True}, {"session_id": "sess_" + "0" * 32}):
        assert ask("drawer", "POST", "/generate", json=BODY | more).status_code == 403


def test_a_session_is_its_owners_alone(ask: Ask) -> None:
    """Every operation of every other key, those of `admin` among them, finds nothing; and harms nothing."""
    saved = ask("alice", "POST", "/generate", json=BODY | {"save": True, "seed": 1}).json()["session_id"]
    missing = ask("bob", "GET", "/sessions/sess_" + "0" * 32).json()["error"]
    own = {"message": "", "request_id": ""}  # of each answer
    for name in ("bob", "root"):
        tries = [
            ask(name, "GET", f"/sessions/{saved}"),
            ask(name, "POST", f"/sessions/{saved}/fork"),
            ask(name, "POST", f"/sessions/{saved}/fork", json={"ttl_seconds": 5}, headers={"Idempotency-Key": "k"}),
            ask(name, "DELETE", f"/sessions/{saved}"),
            ask(name, "POST", "/generate", json={"session_id": saved, "length": 1}),
            ask(name, "POST", "/generate", json={"session_id": saved, "length": 1, "stream": True}),
            ask(name, "POST", "/generate", json={"session_id": saved, "prefix": [1], "length": 0}),
            ask(name, "POST", "/generate", json={"session_id": saved}, headers={"Idempotency-Key": "g"}),
        ]
        for answer in tries:
            assert answer.status_code == 404
            assert answer.json()["error"] | own == missing | own
    assert ask("alice", "GET", f"/sessions/{saved}").json()["position"] == 4
    copy = ask("alice", "POST", f"/sessions/{saved}/fork").json()["id"]
    assert ask("bob", "GET", f"/sessions/{copy}").status_code == 404
    resumed = ask("alice", "POST", "/generate", json={"session_id": copy, "length": 2})
    assert resumed.json()["position"] == 6
    assert ask("alice", "DELETE", f"/sessions/{saved}").status_code == 204


def test_an_idempotency_key_is_its_owners_alone(ask: Ask) -> None:
    headers = {"Idempotency-Key": "the same"}
    answers = [ask(name, "POST", "/generate", json=BODY, headers=headers) for name in ("alice", "bob", "alice")]
    assert ["Idempotency-Replayed" in answer.headers for answer in answers] == [False, False, True]
    alice, bob, again = (answer.json()["id"] for answer in answers)
    assert alice == again != bob


def test_without_keys_the_sessions_of_keys_are_not_there(serve: Serve, ask: Ask) -> None:
    saved = ask("alice", "POST", "/generate", json=BODY | {"save": True}).json()["session_id"]
    assert serve.client.get(f"/sessions/{saved}").status_code == 404
    own = serve.generate(**BODY, save=True)["session_id"]
    assert ask("alice", "GET", f"/sessions/{own}").status_code == 404


def test_keys_are_read_again(ask: Ask, keys: tuple[Path, dict[str, str]]) -> None:
    path, _ = keys
    key, text = make("new", ("generate",), None)
    assert ask(text, "GET", "/models").status_code == 401
    keyfile.change(path, lambda document: Document((*document.keys, key)))
    until(lambda: ask(text, "GET", "/models").status_code == 200, 5)
    good = path.read_bytes()
    path.write_bytes(b"{")
    time.sleep(1.5)
    assert ask(text, "GET", "/models").status_code == 200
    path.write_bytes(good)
    keyfile.change(path, lambda document: Document(tuple(one for one in document.keys if one.name != "new")))
    until(lambda: ask(text, "GET", "/models").status_code == 401, 5)


def test_the_python_client(guarded: Serve, keys: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, texts = str(guarded.client.base_url), keys[1]
    with Client(url, retries=0) as nobody, pytest.raises(UnauthorizedError):
        nobody.generate(model="pixels", length=2)
    with Client(url, api_key=texts["drawer"]) as drawer, pytest.raises(ForbiddenError, match="scope `sessions`"):
        drawer.generate(model="pixels", length=2, save=True)
    monkeypatch.setenv("VSSM_API_KEY", texts["alice"])
    with Client(url) as alice, Client(url, api_key=texts["bob"]) as bob, alice.session(model="pixels") as session:
        assert isinstance(session.resume(length=2), Generation)
        with pytest.raises(SessionNotFoundError):
            bob.session(session.id).resume(length=2)
    command = [sys.executable, "-m", "vssm_client", "models", "--json", "--url", url]
    done = subprocess.run([*command, "--api-key", texts["drawer"]], capture_output=True, text=True, check=True)
    assert "pixels" in {model["name"] for model in json.loads(done.stdout)}
    wrong = subprocess.run([*command, "--api-key", "x"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "not known" in wrong.stderr


def test_keys_in_a_variable(serve: Serve, beside: Callable[..., Serve], keys: tuple[Path, dict[str, str]]) -> None:
    api = beside(serve, api_keys=keys[0].read_text())
    assert api.client.get("/models").status_code == 401
    headers = {"Authorization": f"Bearer {keys[1]['alice']}"}
    assert api.client.get("/models", headers=headers).status_code == 200


def test_without_keys_only_this_machine_is_served(serve: Serve, tmp_path: Path) -> None:
    for part in ("api", "serve"):
        other = Serve(tmp_path, host="0.0.0.0", redis_url=serve.redis_url)
        with open(tmp_path / "log", "wb") as log:
            process = other.launch(part, log)
        assert process.wait(30) == 2
        assert "there are no API keys" in (tmp_path / "log").read_text()


def test_without_keys_names_of_other_hosts_are_refused(serve: Serve, beside: Callable[..., Serve]) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.nip.io"):
        refused = serve.client.get("/models", headers={"Host": host})
        assert refused.status_code == 403, host
    for host in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        assert serve.client.get("/models", headers={"Host": host}).status_code == 200
    api = beside(serve, host="0.0.0.0", allow_anonymous=True)
    assert api.client.get("/models", headers={"Host": "gateway.example"}).status_code == 200


@pytest.mark.parametrize("content", ["{", '{"keys": [{}]}'])
def test_keys_that_cannot_be_read_stop_the_start(serve: Serve, tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    other = Serve(tmp_path, api_keys_file=tmp_path / "keys.json", redis_url=serve.redis_url)
    with open(tmp_path / "log", "wb") as log:
        process = other.launch("api", log)
    assert process.wait(30) == 2
    assert "these are no API keys" in (tmp_path / "log").read_text()
