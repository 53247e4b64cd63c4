"""The service with API keys, made and mounted as docs/scaling.md says, and published on every address of the host."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose.monitoring import Prometheus
from tests.compose.stack import Stack
from tests.e2e.serving import joined, until, values

FILE = "/secrets/keys.json"
SCOPES = {"alice": ("generate", "sessions"), "bob": ("generate", "sessions"), "prom": ("metrics",)}
BODY = {"model": "mnist", "seed": 3, "length": 14}

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def keys(stack: Stack) -> Iterator[dict[str, str]]:
    """The key of each name."""
    made = {}
    for name, scopes in SCOPES.items():
        options = [part for scope in scopes for part in ("--scope", scope)]
        create = ("key", "create", name, "--file", FILE, *options)
        made[name] = stack.compose("run", "--rm", "--no-deps", "api", *create).strip()
    stack.set(VSSM_BIND="0.0.0.0", VSSM_API_KEYS_FILE=FILE)
    stack.up()
    yield made
    for service in ("api", "worker", "gateway"):
        log = stack.compose("logs", "--no-color", service)
        assert not any(key in log for key in made.values()), service


@pytest.fixture
def ask(stack: Stack, keys: dict[str, str]) -> Ask:
    """A request of somebody."""

    def send(name: str | None, method: str, path: str, **body: Any) -> httpx.Response:
        headers = {} if name is None else {"Authorization": f"Bearer {keys[name]}"}
        return stack.client.request(method, path, headers=headers, json=body or None)

    return send


def test_strangers_are_not_served_without_keys(stack: Stack) -> None:
    stack.set(VSSM_BIND="0.0.0.0")
    alone = ("run", "--rm", "--no-deps", "api")
    assert "VSSM_API_KEYS_FILE" in stack.refusal(*alone)
    stack.set(VSSM_API_KEYS_FILE=FILE)
    assert "cannot be read" in stack.refusal(*alone)


def test_who_has_a_key_is_served(stack: Stack, ask: Ask) -> None:
    assert ask(None, "GET", "/livez").status_code == 200
    assert ask(None, "POST", "/generate", **BODY).status_code == 401
    assert ask("prom", "POST", "/generate", **BODY).status_code == 403
    assert ask("alice", "POST", "/generate", **BODY).status_code == 200


def test_sessions_belong_to_a_key_through_restarts(stack: Stack, ask: Ask) -> None:
    """Their states and the memory of their owners are signed with the key of the volume, which stays."""
    whole = values(ask("alice", "POST", "/generate", **{**BODY, "length": 28}).json())
    half = ask("alice", "POST", "/generate", **BODY, save=True).json()
    stack.compose("down")
    stack.up()
    session = half["session_id"]
    assert ask("bob", "POST", "/generate", session_id=session).status_code == 404
    rest = ask("alice", "POST", "/generate", session_id=session).json()
    assert joined([values(half), values(rest)]) == whole


def test_prometheus_needs_a_key_too(prometheus: Prometheus, keys: dict[str, str], tmp_path: Path) -> None:
    for name, complaint in (("alice", "server returned HTTP status 403 Forbidden"), ("prom", "")):
        file = tmp_path / name
        file.write_text(keys[name] + "\n")
        prometheus.up(file)
        up = [float(not complaint)]
        until(lambda: prometheus.complaints() == {complaint} and prometheus.values("up") == up)  # noqa: B023


def test_a_revoked_key_is_refused(stack: Stack, ask: Ask) -> None:
    """Without a restart."""
    stack.compose("exec", "api", "vssm-server", "key", "revoke", "bob", "--file", FILE)
    until(lambda: ask("bob", "GET", "/models").status_code == 401, 5)
    assert ask("alice", "GET", "/models").status_code == 200
