"""Sessions as objects: a sequence whose state the server keeps, to be continued at any later time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack, cast

from vssm_client.calls import session_path
from vssm_client.errors import ClientError, SessionNotFoundError
from vssm_client.models import Event, Generation, SessionInfo
from vssm_client.options import Options, ResumeOptions, StartOptions

if TYPE_CHECKING:
    from vssm_client.aio import AsyncClient
    from vssm_client.arrays import ArrayGeneration
    from vssm_client.client import Client


class _Named:
    """An id that is there from the beginning or comes with the first request."""

    def __init__(self, session_id: str | None, start: StartOptions) -> None:
        if session_id is not None:
            session_path(session_id)
            if any(value is not None for value in start.values()):
                raise ValueError("model, num_samples and seed come from the session; leave them out with a session_id")
        self._id, self._start = session_id, start
        self._version: int | None = None  # the last that was answered: the server must not fall behind it

    @property
    def started(self) -> bool:
        """Whether there is something on the server."""
        return self._id is not None

    @property
    def id(self) -> str:
        """The id. Raises RuntimeError before the first `resume`."""
        if self._id is None:
            raise RuntimeError("the session has no id before its first resume: nothing is saved yet")
        return self._id

    def _options(self, options: ResumeOptions) -> Options:
        if self._id is None:
            return cast(Options, {**self._start, **options, "save": True})
        return cast(Options, {**options, "session_id": self._id, "session_version": self._version})

    def _advanced(self, session_id: str | None, version: int | None) -> None:
        """After each request that was answered."""
        self._id = session_id
        self._version = version if version is not None or self._version is None else self._version + 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._id or 'not started'})"


class Session(_Named):
    """A session; at the end of a `with` block it is deleted, without one the server keeps it until it expires."""

    def __init__(self, client: Client, session_id: str | None, start: StartOptions) -> None:
        super().__init__(session_id, start)
        self._client = client

    def resume(self, **options: Unpack[ResumeOptions]) -> Generation:
        """Go on, or begin: the next `length` steps, and what they left behind is saved."""
        generation = self._client.generate(**self._options(options))
        self._advanced(generation.session_id, generation.session_version)
        return generation

    def stream(self, **options: Unpack[ResumeOptions]) -> Generator[Event]:
        """`resume` chunk by chunk, the Generation last; only then the session has advanced."""
        for event in self._client.stream(**self._options(options)):
            if isinstance(event, Generation):
                self._advanced(event.session_id, event.session_version)
            yield event

    def array(self, **options: Unpack[ResumeOptions]) -> ArrayGeneration:
        """`resume` as one numpy array, (num_samples, steps, size)."""
        generation = self._client.array(**self._options(options))
        self._advanced(generation.session_id, None)
        return generation

    def info(self) -> SessionInfo:
        """What the server has: position, seed, size, time of expiry. Raises SessionNotFoundError."""
        return self._client.session_info(self.id)

    def fork(self, ttl_seconds: int | None = None) -> Session:
        """A copy under a new id; both go on by themselves. Raises SessionNotFoundError."""
        return self._client.fork(self.id, ttl_seconds)

    def delete(self) -> None:
        """Forget it. Raises SessionNotFoundError."""
        self._client.delete(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.started:
            with suppress(SessionNotFoundError if error is None else ClientError):  # never hides an earlier error
                self.delete()


class AsyncSession(_Named):
    """`Session` with coroutines, for `async with`."""

    def __init__(self, client: AsyncClient, session_id: str | None, start: StartOptions) -> None:
        super().__init__(session_id, start)
        self._client = client

    async def resume(self, **options: Unpack[ResumeOptions]) -> Generation:
        """Go on, or begin: the next `length` steps, and what they left behind is saved."""
        generation = await self._client.generate(**self._options(options))
        self._advanced(generation.session_id, generation.session_version)
        return generation

    async def stream(self, **options: Unpack[ResumeOptions]) -> AsyncGenerator[Event]:
        """`resume` chunk by chunk, the Generation last; only then the session has advanced."""
        async with aclosing(self._client.stream(**self._options(options))) as events:
            async for event in events:
                if isinstance(event, Generation):
                    self._advanced(event.session_id, event.session_version)
                yield event

    async def array(self, **options: Unpack[ResumeOptions]) -> ArrayGeneration:
        """`resume` as one numpy array, (num_samples, steps, size)."""
        generation = await self._client.array(**self._options(options))
        self._advanced(generation.session_id, None)
        return generation

    async def info(self) -> SessionInfo:
        """What the server has: position, seed, size, time of expiry. Raises SessionNotFoundError."""
        return await self._client.session_info(self.id)

    async def fork(self, ttl_seconds: int | None = None) -> AsyncSession:
        """A copy under a new id; both go on by themselves. Raises SessionNotFoundError."""
        return await self._client.fork(self.id, ttl_seconds)

    async def delete(self) -> None:
        """Forget it. Raises SessionNotFoundError."""
        await self._client.delete(self.id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.started:
            with suppress(SessionNotFoundError if error is None else ClientError):
                await self.delete()
