"""Reading bodies: bounded while they arrive, of the right type, strict JSON, strict fields."""

import asyncio
import re
from typing import TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vssm_server.api.problems import answer, of_validation
from vssm_server.api.state import api_of
from vssm_server.counters import FAILURES
from vssm_server.errors import Problem
from vssm_server.tally import Tally

LINGER_SECONDS = 2.0
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
M = TypeVar("M", bound=BaseModel)


class BodyLimit:
    """Refuses a body beyond `limit` bytes as soon as it is known to be, declared or not; never holds more."""

    def __init__(self, app: ASGIApp, limit: int, tally: Tally) -> None:
        self.app = app
        self.limit = limit
        self.tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0
        problem = Problem(
            "body_too_large", f"The body is larger than the {self.limit} bytes allowed. Send less at a time."
        )

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise problem
            return message

        if _declared(scope) > self.limit:
            self.tally.add(FAILURES.of(problem.body.type))
            await _refuse(problem, scope, receive, send)
            return
        try:
            await self.app(scope, counted, send)
        except Problem as error:
            if error is not problem:
                raise
            self.tally.add(FAILURES.of(problem.body.type))
            await _refuse(problem, scope, receive, send)


def _declared(scope: Scope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length" and value.isdigit()]
    return int(lengths[0][:19]) if lengths else 0


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once, then reads on for a moment: a client still sending would lose the answer to a reset."""
    response = answer(problem, scope["path"])
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body"):
                message = await receive()
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def deeper_than(data: bytes, most: int) -> bool:
    """Whether JSON is nested deeper than that; found without parsing it. Brackets that do not match are too deep."""
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    brackets = _STRING.sub(b"", data).translate(_ONE_KIND, _NO_BRACKET)
    for _ in range(most):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # the innermost
    return bool(brackets)


async def read(request: Request, model: type[M]) -> M:
    """The body as `model`. Raises Problem."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await request.body()
    if media_type != "application/json":
        shown = media_type[:60] or "none"
        message = f"The content type must be application/json, not {shown} (with curl: --json)."
        raise Problem("unsupported_media_type", message)
    return parse(data, model, (await api_of(request)).settings.max_json_depth)


def parse(data: bytes, model: type[M], most: int) -> M:
    """A body as `model`, nested `most` levels deep at most. Raises Problem."""
    if deeper_than(data, most):
        raise Problem("invalid_request", f"The body is nested deeper than {most} levels, or its brackets do not match.")
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Problem("invalid_request", f"The body is not JSON: {error}.") from None
    if not isinstance(fields, dict):
        raise Problem("invalid_request", f"The body must be a JSON object, not a {type(fields).__name__}.")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise of_validation(error, model) from None
