"""Turns every exception into the one error body, FastAPI's and Starlette's own included."""

import difflib
import logging
from collections.abc import Iterable

import orjson
import redis
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError
from redis.exceptions import OutOfMemoryError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount

from vssm_server.api.openai import errors as openai
from vssm_server.api.stream import ClientLeft
from vssm_server.counters import FAILURES
from vssm_server.errors import REDIS_AWAY, STATUS, STORAGE_FULL, Problem
from vssm_server.tally import Tally
from vssm_server.wording import kind_of, wrong

CLIENT_LEFT = 499  # nobody sees it
MOST_OF_A_NAME = 100  # of a field that a client has made up, in an error
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

log = logging.getLogger(__name__)


def answer(problem: Problem, path: str = "/") -> Response:
    """The HTTP response for a problem with a request to `path`."""
    if openai.covers(path):
        return openai.answer(problem, path)
    return Response(orjson.dumps(problem.as_json()), problem.body.code, problem.headers, "application/json")


def install(app: FastAPI, tally: Tally) -> None:
    """Registers the handlers and counts what they answer."""

    def respond(problem: Problem, request: Request) -> Response:
        tally.add(FAILURES.of(problem.body.type))
        return answer(problem, request.url.path)

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return respond(error, request)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = respond(_of_status(request, error), request)
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            response.headers["Allow"] = _allowed(request)
        return response

    async def on_redis(request: Request, error: Exception) -> Response:
        log.warning("Redis: %s", error)
        if isinstance(error, OutOfMemoryError):
            return respond(Problem("storage_full", STORAGE_FULL), request)
        return respond(Problem("redis_unavailable", REDIS_AWAY), request)

    async def on_left(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_LEFT)

    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("internal error", exc_info=error)
        return respond(Problem("internal_error", "A bug in the server; its log has the details."), request)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(redis.RedisError, on_redis)
    app.add_exception_handler(ClientDisconnect, on_left)
    app.add_exception_handler(ClientLeft, on_left)
    app.add_exception_handler(Exception, on_bug)


def _of_status(request: Request, error: HTTPException) -> Problem:
    path = request.url.path[:200]
    if error.status_code == 405:
        return Problem("method_not_allowed", f"{request.method} is not possible on {path}; use {_allowed(request)}.")
    if error.status_code == 404:
        return Problem("not_found", f"There is nothing at {path}. See /docs for what there is.")
    return Problem(
        next((name for name, code in STATUS.items() if code == error.status_code), "invalid_request"), str(error.detail)
    )


def _allowed(request: Request) -> str:
    """The methods of a path, of all its routes; each route by itself knows only of its own."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    found = [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ", ".join(found) or "GET, HEAD"  # of files


def of_validation(error: ValidationError, model: type[BaseModel]) -> Problem:
    """The first thing that is wrong with a body, and how many more there are."""
    details = error.errors(include_url=False)
    first = details[0]
    name = ".".join(map(str, first["loc"]))[:MOST_OF_A_NAME] or None
    if first["type"] == "extra_forbidden":
        message = f"{name or ''!r} is not a field of this request{_suggest(name or '', model.model_fields)}"
    else:
        message = f"{wrong(name or 'The body', first['msg'])}, not {_short(first['input'])}"
    more = f" ({len(details) - 1} more like this)" if len(details) > 1 else ""
    return Problem("invalid_value", f"{message}.{more}", name)


def _suggest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:100], names, n=1)
    return f"; perhaps {close[0]!r} was meant" if close else f"; known are {', '.join(names)}"


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else kind_of(value)
    return text if len(text) <= 60 else text[:57] + "..."
