"""Errors as OpenAI's clients expect them: their body, their status for wrong values, their names of the fields.

`error.code` is this server's stable type (`queue_full`); `error.type` is one of OpenAI's classes:

  invalid_request_error  4xx    a wrong value is 400 here, not 422: their clients raise BadRequestError
  rate_limit_error       429    with Retry-After
  server_error           5xx    with Retry-After where waiting helps; X-Should-Retry: false where it cannot
"""

import re

import orjson
from fastapi import Response

from vssm_server import request_id
from vssm_server.errors import Problem

PREFIX = "/v1/"
COMPLETIONS = PREFIX + "completions"
IMAGES = PREFIX + "images/generations"
_WORDS = {
    COMPLETIONS: {"num_samples": "n", "length": "max_tokens", "prefix": "prompt"},
    IMAGES: {"num_samples": "n", "length": "steps of an image"},
}
_PARAMS = {COMPLETIONS: _WORDS[COMPLETIONS], IMAGES: {"num_samples": "n", "length": "n"}}
_IN_VAIN = ("model_failed", "non_finite_output")  # asked again, the answer is the same


def covers(path: str) -> bool:
    """Whether errors of this path have OpenAI's body."""
    return path.startswith(PREFIX) or path == PREFIX.rstrip("/")


def answer(problem: Problem, path: str) -> Response:
    """The HTTP response for a problem with a request to `path`."""
    headers = problem.headers | ({"X-Should-Retry": "false"} if problem.body.type in _IN_VAIN else {})
    return Response(orjson.dumps(body(problem, path)), status(problem), headers, "application/json")


def status(problem: Problem) -> int:
    """The HTTP status."""
    return 400 if problem.body.code == 422 else problem.body.code


def body(problem: Problem, path: str) -> dict[str, dict[str, str | None]]:
    """The JSON, also of an error within a stream."""
    inner = problem.body
    message, param = inner.message, inner.param
    if inner.type == "invalid_value" and param in _PARAMS.get(path, {}):
        message = _renamed(message, _WORDS[path])
        param = _PARAMS[path][param or ""]
    error = {"message": message, "type": _class(status(problem)), "param": param, "code": inner.type}
    return {"error": {**error, "request_id": request_id.current()}}


def _renamed(message: str, words: dict[str, str]) -> str:
    """With OpenAI's names for the fields of POST /generate."""
    return re.sub(rf"\b({'|'.join(words)})\b", lambda match: words[match[0]], message)


def _class(code: int) -> str:
    if code == 429:
        return "rate_limit_error"
    return "invalid_request_error" if code < 500 else "server_error"
