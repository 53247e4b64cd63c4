"""Runs the application under uvicorn and drains it: on SIGTERM what was accepted is answered, the rest gets 503."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from types import FrameType

import uvicorn

from vssm_server import tracing
from vssm_server.api.access import Access
from vssm_server.api.app import create_app
from vssm_server.api.state import Api
from vssm_server.api.wire import protocol
from vssm_server.exposure import who_is_served
from vssm_server.settings import Settings

LINGER_SECONDS = 0.5  # after the last answer, so that it is read before connections close

HEADERS = [  # of every answer
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
]

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """A uvicorn server that goes on answering, with 503, until what it had accepted is answered."""

    def __init__(self, config: uvicorn.Config, api: Api) -> None:
        super().__init__(config)
        self._api = api
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        if self._api.draining:
            self.should_exit = True
            self.force_exit = sig == signal.SIGINT
            return
        self._api.draining = True
        self._until = time.monotonic() + self._api.settings.drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._until is not None and (not self._api.hub.waiters or time.monotonic() > self._until):
            await asyncio.sleep(LINGER_SECONDS)
            self.should_exit = self.should_exit or not self._api.hub.waiters or time.monotonic() > self._until
        return await super().on_tick(counter)


def run_api(settings: Settings, listening: socket.socket) -> None:
    """Serves on the socket until it is told to end."""
    app = create_app(settings)
    traces = tracing.start("api", app.state.api.hub.id)
    config = uvicorn.Config(
        Access(app, traces),
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing asks who the client is
        timeout_graceful_shutdown=2,
        http=protocol(settings),
        ws="none",
        headers=HEADERS,
        timeout_keep_alive=settings.idle_seconds,
        ssl_certfile=settings.tls_certificate_file,
        ssl_keyfile=settings.tls_key_file,
    )
    log.info(who_is_served(settings))
    server = Server(config, app.state.api)
    gc.collect()
    gc.freeze()  # what there is now stays: a collection need not look at it, and keeps requests waiting for less long
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if traces is not None:
        traces.close()
