"""What can go wrong.

httpx.TransportError            passed through: the server was not reached, or not in time
ClientError                     a stream that broke off
+-- ServerError                 the server answered with an error: type, message, param, status
    +-- InvalidError            400, 406, 413, 415, 422: the request must be changed
    +-- NotFoundError           404
    +-- ConflictError           409
    +-- UnavailableError        429, 503, 504: the same request may succeed later, after `retry_after` seconds
"""

import httpx
from pydantic import BaseModel, ValidationError


class ClientError(Exception):
    """Anything this package raises by itself."""


class ServerError(ClientError):
    """An error reply; `type` is stable, `message` is for people."""

    def __init__(self, status: int, type: str, message: str, param: str | None, retry_after: float | None) -> None:
        super().__init__(f"{message} ({type}, HTTP {status})")
        self.status, self.type, self.message, self.param, self.retry_after = status, type, message, param, retry_after


class InvalidError(ServerError):
    """The request must be changed."""


class NotFoundError(ServerError):
    """No such model, session or path."""


class ConflictError(ServerError):
    """The session is being advanced by another request, or was made by another checkpoint."""


class UnavailableError(ServerError):
    """Try again later."""


_BY_STATUS: dict[int, type[ServerError]] = {
    **dict.fromkeys((400, 406, 413, 415, 422), InvalidError),
    404: NotFoundError,
    409: ConflictError,
    **dict.fromkeys((429, 503, 504), UnavailableError),
}


class _Body(BaseModel):
    type: str
    message: str
    param: str | None = None
    code: int


class _Envelope(BaseModel):
    error: _Body


def from_json(status: int, content: bytes, retry_after: str | None = None) -> ServerError:
    """The error that an error body stands for."""
    try:
        body = _Envelope.model_validate_json(content).error
    except ValidationError:
        text = content[:200].decode(errors="replace")
        body = _Body(type="unknown", message=f"not an error of this server: {text}", code=status)
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return _BY_STATUS.get(body.code, ServerError)(body.code, body.type, body.message, body.param, seconds)


def check(response: httpx.Response) -> httpx.Response:
    """The response, if it is no error; its body must have been read."""
    if response.is_success:
        return response
    raise from_json(response.status_code, response.content, response.headers.get("retry-after"))
