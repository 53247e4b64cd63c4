"""Around the whole application: each request gets its id, one line in the log and, if wanted, a span.

The routes tell the rest by `current()`: which model it is about.
"""

import inspect
import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vssm_server import request_id
from vssm_server.logs import note
from vssm_server.tracing import Tracing, fail

if TYPE_CHECKING:
    from opentelemetry.trace import Span

UNKNOWN = 499  # of a request that was left before there was a status
QUIET = frozenset({"/livez", "/readyz", "/metrics"})  # asked all the time

log = logging.getLogger("vssm_server.access")


@dataclass(slots=True)
class Exchange:
    """One request and its answer."""

    id: str
    traceparent: str | None = None
    status: int = UNKNOWN
    model: str | None = None


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
current = _current.get


class Access:
    """The outermost layer, so that it sees what the error handlers answer as well."""

    def __init__(self, app: ASGIApp, tracing: Tracing | None = None) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = Exchange(request_id.of(scope["headers"]))
        named = (request_id.HEADER, exchange.id.encode())

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], named]
            await send(message)

        tokens = _current.set(exchange), request_id.enter(exchange.id)
        span = self._span(scope, exchange)
        try:
            await self._app(scope, receive, answer)
        finally:
            _tell(scope, exchange, (time.perf_counter() - began) * 1e3)
            if span is not None:
                _end(span, scope, exchange)
            _current.reset(tokens[0])
            request_id.leave(tokens[1])

    def _span(self, scope: Scope, exchange: Exchange) -> "Span | None":
        if self._tracing is None or scope["path"] in QUIET:
            return None
        span = self._tracing.serve(scope["method"], scope["path"], scope["headers"])
        span.set_attribute("request_id", exchange.id)
        exchange.traceparent = self._tracing.parent_of(span)
        return span


def _end(span: "Span", scope: Scope, exchange: Exchange) -> None:
    """Says how it went. The name has the route, not the path: few names for many sessions."""
    route = getattr(scope.get("route"), "path", None)
    if route is None and inspect.isfunction(scope.get("endpoint")):  # Starlette's own routes here have no parameters
        route = scope["path"]
    span.update_name(f"{scope['method']} {route}" if route else scope["method"])
    span.set_attribute("http.response.status_code", exchange.status)
    if route:
        span.set_attribute("http.route", route)
    if exchange.model:
        span.set_attribute("model", exchange.model)
    if exchange.status >= 500:
        fail(span, str(exchange.status))
    span.end()


def _tell(scope: Scope, exchange: Exchange, ms: float) -> None:
    """One line. The path is as it was sent, percent-encoded, and without the query."""
    if scope["path"] in QUIET:
        return
    path = scope["raw_path"].decode("ascii", "backslashreplace")
    fields = {"method": scope["method"], "path": path, "status": exchange.status, "ms": round(ms, 3)}
    note(log, "request", {**fields, "model": exchange.model, "request_id": exchange.id})
