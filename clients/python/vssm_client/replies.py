"""Replies of any kind to results, errors to exceptions: of HTTP responses, of events, of httpx itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from vssm_client import arrays
from vssm_client.arrays import ArrayGeneration
from vssm_client.errors import (
    BY_STATUS,
    BY_TYPE,
    AnswerError,
    ConnectionBrokenError,
    ConnectionFailedError,
    ServerError,
    TimedOutError,
)
from vssm_client.png import Png

A = TypeVar("A", bound=BaseModel)
_SHOWN = 200  # bytes of an answer that nobody expected


class _Body(BaseModel):
    type: str
    message: str
    param: str | None = None
    code: int
    request_id: str | None = None


class _Envelope(BaseModel):
    error: _Body


def error_of(status: int, content: bytes, retry_after: str | None = None) -> ServerError:
    """The exception for an error body; one that is none has the type "unknown"."""
    try:
        body = _Envelope.model_validate_json(content).error
    except ValidationError:
        text = " ".join(content.decode(errors="replace").split())[:_SHOWN]
        body = _Body(type="unknown", message=f"not an answer of a VSSM server (HTTP {status}): {text}", code=status)
    kind = BY_TYPE.get(body.type) or BY_STATUS.get(body.code, ServerError)
    return kind(body.code, body.type, body.message, body.param, seconds_of(retry_after), body.request_id)


def seconds_of(retry_after: str | None) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from now."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def check(response: httpx.Response) -> None:
    """Raises the error of a response, whose body must have been read."""
    if not response.is_success:
        raise error_of(response.status_code, response.content, response.headers.get("retry-after"))


def parse(model: type[A], content: bytes) -> A:
    """JSON as a model. Raises AnswerError."""
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise unexpected(content, str(error)) from None


def unexpected(content: bytes, why: str) -> AnswerError:
    """The error for an answer that no VSSM server gives."""
    return AnswerError(f"not an answer of a VSSM server ({why}): {content[:_SHOWN].decode(errors='replace')}")


def as_array(response: httpx.Response) -> ArrayGeneration:
    """An npy answer. Raises AnswerError."""
    try:
        values = arrays.of_npy(response.content)
        return ArrayGeneration(*_head(response), values)
    except (ValueError, EOFError) as error:
        raise unexpected(response.content, str(error)) from None


def as_png(response: httpx.Response) -> Png:
    """A PNG answer. Raises AnswerError."""
    try:
        return Png(response.content, *_head(response))
    except ValueError as error:
        raise unexpected(response.content, str(error)) from None


def _head(response: httpx.Response) -> tuple[str, int, str | None]:
    headers = response.headers
    return headers.get("x-vssm-id", ""), int(headers.get("x-vssm-seed", "")), headers.get("x-vssm-session")


@contextmanager
def translated(base_url: str) -> Iterator[None]:
    """httpx's exceptions as this package's."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        message = f"the server at {base_url} was not reached: {error or 'no connection in time'}"
        raise ConnectionFailedError(message) from error
    except httpx.TimeoutException as error:
        raise TimedOutError(f"no answer of {base_url} in time ({type(error).__name__})") from error
    except httpx.RequestError as error:
        message = f"the connection to {base_url} broke: {error or type(error).__name__}"
        raise ConnectionBrokenError(message) from error
