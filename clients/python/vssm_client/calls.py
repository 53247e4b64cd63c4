"""One `Call` for each thing that a server can be asked, shared by both clients. Does no input or output itself."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx

from vssm_client import replies
from vssm_client.arrays import ArrayGeneration, need_numpy
from vssm_client.models import Generation, Model, ModelList, SessionInfo
from vssm_client.options import Options, body, checked_key, dumps
from vssm_client.png import Png

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request that may be sent several times, each time with the same bytes and key, and how to read its answer."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ends: bool = False  # deletes: when an earlier try may have arrived, "not found" means that it is done

    def result(self, response: httpx.Response, again: bool) -> T:
        """Of a whole response. Raises ServerError or AnswerError."""
        if not (self.ends and again and response.status_code == 404):
            replies.check(response)
        return self.read(response)


def generate(options: Options, keyed: bool) -> Call[Generation]:
    """The result as JSON."""
    return _generate(options, keyed, "application/json", lambda r: replies.parse(Generation, r.content))


def array(options: Options, keyed: bool) -> Call[ArrayGeneration]:
    """The result as npy. Raises ImportError without numpy."""
    need_numpy()
    return _generate(options, keyed, "application/x-npy", replies.as_array)


def png(options: Options, keyed: bool) -> Call[Png]:
    """The result as a picture."""
    return _generate(options, keyed, "image/png", replies.as_png)


def stream(options: Options, keyed: bool) -> Call[None]:
    """The result as events; events.py reads them."""
    return _generate(options, keyed, "text/event-stream", _nothing, stream=True)


def session(session_id: str) -> Call[SessionInfo]:
    """What is saved."""
    return Call("GET", session_path(session_id), lambda r: replies.parse(SessionInfo, r.content))


def fork(session_id: str, ttl_seconds: int | None, keyed: bool) -> Call[SessionInfo]:
    """A copy under a new id."""
    path = session_path(session_id, "/fork")
    content = dumps({} if ttl_seconds is None else {"ttl_seconds": ttl_seconds})
    headers = _JSON | _key(None, keyed)
    return Call("POST", path, lambda r: replies.parse(SessionInfo, r.content), content, headers)


def delete(session_id: str) -> Call[None]:
    """Forget a session."""
    return Call("DELETE", session_path(session_id), _nothing, ends=True)


def models() -> Call[list[Model]]:
    """All models."""
    return Call("GET", "/models", lambda r: replies.parse(ModelList, r.content).models)


def model(name: str) -> Call[Model]:
    """One model; a name may have one slash, as in owner/name."""
    return Call("GET", f"/models/{_segment('model', name, safe='/@')}", lambda r: replies.parse(Model, r.content))


def session_path(session_id: str, action: str = "") -> str:
    """Where a session is. Raises ValueError for an id that would lead elsewhere."""
    return f"/sessions/{_segment('session_id', session_id)}{action}"


def _segment(what: str, name: str, safe: str = "") -> str:
    if not all(part.strip(".") for part in name.split("/")):
        raise ValueError(f"{what} must be the name of one, not {name!r}")
    return quote(name, safe=safe)


_JSON = {"content-type": "application/json"}


def _generate(
    options: Options, keyed: bool, accept: str, read: Callable[[httpx.Response], T], stream: bool = False
) -> Call[T]:
    headers = {**_JSON, "accept": accept, **_key(options.get("idempotency_key"), keyed)}
    return Call("POST", "/generate", read, body(options, stream), headers)


def _key(given: str | None, keyed: bool) -> dict[str, str]:
    """A key of the user's, or a new one where the request may be sent again."""
    if given is not None:
        return {"idempotency-key": checked_key(given)}
    return {"idempotency-key": str(uuid.uuid4())} if keyed else {}


def _nothing(_: httpx.Response) -> None:
    return None
