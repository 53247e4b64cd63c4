"""What the routes share: settings, Redis, the workers' news, the hub and what is counted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import Request

from vssm_server.connect import ANSWER_SECONDS, PROMPT_SECONDS, connect_async
from vssm_server.errors import Problem
from vssm_server.fleet import Fleet
from vssm_server.hub import Hub
from vssm_server.keyfile import ring_of, watch
from vssm_server.keyring import Key
from vssm_server.quotas import Terms, terms_of
from vssm_server.seal import seal_of
from vssm_server.sessions import Sessions
from vssm_server.settings import Settings
from vssm_server.tally import Tally
from vssm_server.versions import versions_of


class Api:
    """One API process."""

    def __init__(self, settings: Settings) -> None:
        assert settings.redis_url is not None
        self.settings = settings
        self.redis = connect_async(settings.redis_url, PROMPT_SECONDS)
        self.listener = connect_async(settings.redis_url, ANSWER_SECONDS)
        seal = seal_of(settings)
        self.fleet = Fleet(self.redis, settings.default_model, seal)
        self.tally = Tally()
        self.hub = Hub(
            self.redis,
            self.listener,
            settings.queue_limit,
            self.fleet.drain_seconds,
            seal,
            self._share,
            settings.max_stream_buffer_bytes,
            self.tally,
            versions_of(settings),
        )
        self.sessions = Sessions(self.redis, seal, self.hub.versions)
        self.ring = ring_of(settings)
        self.draining = False

    def _share(self) -> int:
        """Jobs of one owner that the workers see at once."""
        return self.settings.key_share * max(1, len(self.fleet.workers))

    def terms_of(self, key: Key | None) -> Terms | None:
        """The quotas of a caller; None without keys."""
        return None if key is None else terms_of(key.name, key.quotas, self.settings)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While this is open, replies are listened for and heartbeats are read."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.fleet.once(self.hub), 5)
        tasks = [asyncio.create_task(self.hub.listen()), asyncio.create_task(self.fleet.watch(self.hub))]
        if self.ring is not None and self.settings.api_keys_file is not None:
            tasks.append(asyncio.create_task(watch(self.settings.api_keys_file.expanduser(), self.ring)))
        try:
            yield
        finally:
            await end_tasks(tasks)
            await self.hub.close()
            await self.redis.aclose()
            await self.listener.aclose()

    def check_open(self) -> None:
        """Raises Problem when this process is about to end."""
        if self.draining:
            raise Problem("shutting_down", "The server is shutting down. Try again after the seconds in Retry-After.")


async def end_tasks(tasks: list["asyncio.Task[None]"]) -> None:
    """Cancels until they are done: before Python 3.12, wait_for can lose a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.2)


async def api_of(request: Request) -> Api:
    """For FastAPI's Depends, which runs what is not async in a thread."""
    api = request.app.state.api
    assert isinstance(api, Api)
    return api
