"""Connections that cannot be held for nothing: bounded heads, slow senders and slow readers ended. Knows no routes.

head      request line and headers: at most `max_url_bytes` and `max_header_bytes` (414, 431), within `header_seconds`
body      within `body_seconds`; its size is `body.BodyLimit`'s affair
answer    who reads less than LEAST_BYTES_PER_SECOND for `read_seconds`, while more waits, is cut off
ahead     requests that are sent before the answer to the first: MOST_AHEAD of them
idle      before the first request and between requests, `idle_seconds`
all       at most `max_connections`, and as many as this process may have open files for: one more takes the place of
          some on which nothing is under way, those that would end soonest; who only holds connections keeps nobody out
"""

import asyncio
import logging
import resource
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from vssm_server import request_id
from vssm_server.api.problems import answer
from vssm_server.errors import Problem
from vssm_server.logs import note
from vssm_server.settings import Settings

LEAST_BYTES_PER_SECOND = 1024
CLOSE_SECONDS = 5.0  # for the last bytes of an answer after its connection was closed
MOST_AHEAD = 64
SPARE_FILES = 256  # beside the connections

log = logging.getLogger("vssm_server.access")


def protocol(settings: Settings) -> type[asyncio.Protocol]:
    """The class that uvicorn makes for each connection."""
    most = allowed_connections(settings.max_connections)
    if most < settings.max_connections:
        log.warning("%d connections at most, as more files may not be opened (ulimit -n)", most)
    return cast("type[asyncio.Protocol]", type("Connection", (Bounded,), {"bounds": settings, "most": most}))


def allowed_connections(wanted: int) -> int:
    """Raises this process' limit of open files as far as that many connections need, and it may; how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(1, soft - SPARE_FILES))


class Bounded(HttpToolsProtocol):
    """One connection."""

    bounds: Settings
    most: int  # connections of this process

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0  # of a request whose headers are not complete
        self._refused = False
        self._open: list[RequestResponseCycle] = []  # without a whole answer, each waiting for the one before
        self._waiting: asyncio.TimerHandle | None = None  # for a head or a body
        self._reading: asyncio.TimerHandle | None = None  # for somebody who does not read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection: idle until its first request begins."""
        super().connection_made(transport)
        if len(self.connections) > self.most and not self._make_room():
            transport.abort()
            return
        self._wait(self.bounds.idle_seconds)

    def _make_room(self) -> bool:
        """Ends a sixteenth of all connections at once, as looking at all of them for each new one would take long."""
        others = cast("set[Bounded]", self.connections)
        idle = sorted((end, id(other), other) for other in others if (end := other.ends()) is not None)
        for _, _, other in idle[: max(1, self.most // 16)]:
            self.connections.discard(other)  # it is lost a moment later only
            other.transport.abort()
        return bool(idle)

    def ends(self) -> float | None:
        """When the event loop's clock ends it; None while a request is under way."""
        timer = self._waiting or self.timeout_keep_alive_task
        return None if timer is None else timer.when()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head are counted as they come, before anything is made of them."""
        if self._refused:
            return
        if self._in_head:
            if self._head_bytes == 0:
                self._wait(self.bounds.header_seconds)
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > self.bounds.max_url_bytes + self.bounds.max_header_bytes and not self._refused:
            self._refuse("head_too_large", self._too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        """All but Range: nothing here comes in parts, and what serves files answers a wrong one in words of its own."""
        if name.lower() != b"range":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: checked, then the body is waited for."""
        self._in_head, self._head_bytes = False, 0
        self._stop_waiting()
        if self._refused:
            return
        if len(self.url) > self.bounds.max_url_bytes:
            self._refuse(
                "url_too_long", f"A URL may have {self.bounds.max_url_bytes} bytes, not {len(self.url)}; send less."
            )
            return
        size = sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.bounds.max_header_bytes:
            self._refuse("head_too_large", self._too_large())
            return
        self._open = [cycle for cycle in self._open if not cycle.response_complete]
        if len(self._open) >= MOST_AHEAD:
            self._refuse("invalid_request", f"At most {MOST_AHEAD} requests may be sent ahead of their answers.")
            return
        super().on_headers_complete()
        self._open.append(self.cycle)
        self._wait(self.bounds.body_seconds)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing more is to come of this request."""
        self._in_head = True
        self._stop_waiting()
        if not self._refused:
            super().on_message_complete()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        """Whoever sends a head or a body by drops."""
        self._waiting = None
        self._abort()

    def _abort(self) -> None:
        """Ends the connection at once; nothing is written to it any more."""
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        """Tells all requests that nobody hears their answers; uvicorn tells the last one only."""
        for cycle in self._open:
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()

    def _too_large(self) -> str:
        return f"A request may have {self.bounds.max_header_bytes} bytes of headers; send less."

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP; answered as every other error."""
        self._refuse("invalid_request", "This is no HTTP/1.1 request that can be understood.")

    def _refuse(self, kind: str, message: str) -> None:
        """Says so, and closes the connection; whoever came before on it has their answer first."""
        self._refused = True
        self._stop_waiting()
        cycle = self.cycle
        if cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started):
            self._say(kind, message)
        elif cycle.more_body:
            self._close()  # the answer to the broken body is on its way
        else:
            cycle.keep_alive = False

    def _say(self, kind: str, message: str) -> None:
        name = request_id.of(self.headers or [])
        token = request_id.enter(name)
        response = answer(Problem(kind, message))
        request_id.leave(token)
        note(log, "refused", {"reason": kind, "status": response.status_code, "request_id": name})
        lines = [b"HTTP/1.1 %d Refused" % response.status_code, b"connection: close"]
        lines.append(b"%s: %s" % (request_id.HEADER, name.encode()))
        lines += [b"%s: %s" % header for header in [*self.server_state.default_headers, *response.raw_headers]]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
        self._close()

    def pause_writing(self) -> None:
        """More waits to be read than a buffer holds: from now on it must be read at some pace."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def _watch(self, before: int) -> None:
        self._reading = self.loop.call_later(self.bounds.read_seconds, self._look, before)

    def _look(self, before: int) -> None:
        """Nothing is added to the buffer while writing is paused, so what is less was read."""
        now = self.transport.get_write_buffer_size()
        if before - now < LEAST_BYTES_PER_SECOND * self.bounds.read_seconds:
            self._abort()
            return
        self._watch(now)

    def resume_writing(self) -> None:
        """It was read."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while after an answer."""
        self._close()

    def _close(self) -> None:
        """Closes it; what then is not read within a moment is dropped."""
        if not self.transport.is_closing():
            self.transport.close()
            self.loop.call_later(CLOSE_SECONDS, self._abort)

    def connection_lost(self, error: Exception | None) -> None:
        """No timer outlives its connection."""
        self._stop_waiting()
        if self._reading is not None:
            self._reading.cancel()
        self._leave()
        super().connection_lost(error)
        self._unset_keepalive_if_required()
