"""Who may ask for what: every request is met here first. Nothing behind it need think of keys, but of their owners.

    open                            the page at / and its files, /docs and its files, /openapi.json, /livez, /readyz
    scope `metrics`                 /metrics
    scope `sessions`                /sessions/..., and POST /generate where it saves or resumes
    scope `generate`                POST /generate and the POST routes under /v1
    any key                         everything else: models, and paths that do not exist

Without keys everybody is the owner "", and only those are let in who came by a name of this machine: a page of another
site whose name was made to point here (DNS rebinding) is not.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from vssm_server.api.problems import answer
from vssm_server.counters import FAILURES
from vssm_server.errors import Problem
from vssm_server.exposure import is_loopback
from vssm_server.keyring import Key, KeyRing
from vssm_server.keyring import Scope as KeyScope
from vssm_server.tally import Tally

CALLER = "vssm.caller"
_OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json", "/favicon.ico"})
_OPEN_FOLDERS = ("/playground/", "/docs/assets/")
_NEEDS: tuple[tuple[str, KeyScope], ...] = (
    ("/metrics", "metrics"),
    ("/sessions", "sessions"),
    ("/generate", "generate"),
    ("/v1/completions", "generate"),
    ("/v1/images", "generate"),
)


class Guard:
    """The outermost layer but `Access`. `ring` is None when there are no keys."""

    def __init__(self, app: ASGIApp, ring: KeyRing | None, tally: Tally) -> None:
        self.app = app
        self.ring = ring
        self.tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: let in with its caller, or answered with 401 or 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            if self.ring is not None:
                scope[CALLER] = admit(self.ring, scope)
            else:
                check_host(scope)
        except Problem as problem:
            self.tally.add(FAILURES.of(problem.body.type))
            await answer(problem, scope["path"])(scope, receive, send)
            return
        await self.app(scope, receive, send)


def needed(path: str) -> KeyScope | None:
    """The scope for a path that is not open."""
    return next((scope for start, scope in _NEEDS if path == start or path.startswith(start + "/")), None)


def admit(ring: KeyRing, scope: Mapping[str, Any]) -> Key | None:
    """The key of a request; None where none is needed. Raises Problem."""
    path = scope["path"]
    if path in _OPEN or path.startswith(_OPEN_FOLDERS):
        return None
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(sent) != 1 or sent[0][:7].lower() != b"bearer ":
        raise Problem("unauthorized", "An API key is needed: send it as `Authorization: Bearer vssm_...`.")
    key = ring.find(sent[0][7:].strip().decode("latin-1"))
    if key is None:
        raise Problem("unauthorized", "This API key is not known, was revoked, or has expired. Ask for a new one.")
    need(key, needed(path))
    return key


def need(key: Key | None, scope: KeyScope | None) -> None:
    """Raises Problem when the key lacks a scope."""
    if key is not None and not key.allows(scope):
        has = ", ".join(key.scopes) or "none"
        raise Problem("forbidden", f"This needs the scope `{scope}`; the key {key.name!r} has: {has}.")


def check_host(scope: Mapping[str, Any]) -> None:
    """Raises Problem unless the request came by a name of this machine."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"localhost").decode("latin-1")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if not is_loopback(name.strip("[]")):
        message = (
            f"Without API keys this server answers only to names of its own machine, not to {host[:60]!r}. "
            "Set VSSM_API_KEYS_FILE, or VSSM_ALLOW_ANONYMOUS=true behind a gateway that keeps strangers out."
        )
        raise Problem("forbidden", message)


def caller_of(request: HTTPConnection) -> Key | None:
    """Whose request it is; None without keys."""
    key: Key | None = request.scope.get(CALLER)
    return key


def owner_of(request: HTTPConnection) -> str:
    """The owner of the sessions that a request may see and make; "" without keys."""
    key = caller_of(request)
    return "" if key is None else key.name
