"""The name of an HTTP request, from its caller or made here: in the answer, in errors, in every log line about it."""

import re
import secrets
from contextvars import ContextVar

HEADER = b"x-request-id"
ACCEPTED = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")  # nothing that a log, a header or a page could misread

_current: ContextVar[str | None] = ContextVar("request_id", default=None)
current = _current.get
enter = _current.set
leave = _current.reset


def of(headers: list[tuple[bytes, bytes]]) -> str:
    """The caller's name for the request if there is exactly one that is fit, else a new one."""
    sent = [value for name, value in headers if name == HEADER]
    if len(sent) == 1 and ACCEPTED.fullmatch(sent[0]):
        return sent[0].decode("ascii")
    return "req_" + secrets.token_hex(16)
