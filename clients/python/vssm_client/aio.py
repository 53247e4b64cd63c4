"""`AsyncClient`: the methods of `Client` as coroutines, over the same calls, replies and tries."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from vssm_client import calls
from vssm_client.arrays import ArrayGeneration
from vssm_client.calls import Call
from vssm_client.connection import CONNECT_TIMEOUT, DEFAULT_URL, LIMITS, RETRIES, TIMEOUT, checked_url, headers_with
from vssm_client.errors import ClientError, ConnectionBrokenError
from vssm_client.events import BROKEN_OFF, Delivery, EventReader
from vssm_client.models import Event, Generation, Model, SessionInfo
from vssm_client.options import Options
from vssm_client.png import Png
from vssm_client.replies import check, translated
from vssm_client.retry import Patience, Tries
from vssm_client.session import AsyncSession

T = TypeVar("T")


class AsyncClient:
    """`Client` with coroutines, for any number of tasks of one event loop; use it in an `async with` block.

    Takes what `Client` takes. Only `session` is no coroutine, and `stream` an asynchronous generator.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        timeout: float = TIMEOUT,
        *,
        api_key: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        retries: int = RETRIES,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._patience = Patience(retries, timeout, connect_timeout)
        self._url, self._keyed = checked_url(base_url), retries > 0
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=headers_with(api_key, headers), transport=transport, limits=LIMITS
        )

    async def generate(self, **options: Unpack[Options]) -> Generation:
        """Generate, complete a prefix, or resume a session."""
        return await self._send(calls.generate(options, self._keyed))

    async def stream(self, **options: Unpack[Options]) -> AsyncGenerator[Event]:
        """`generate` in Chunks as they are made, and last the Generation without values.

        Nothing is sent before the first event is asked for. After a break the stream goes on where it was, without
        a gap and without a repetition. Closing the generator (contextlib.aclosing) cancels the request: then
        nothing is saved.
        """
        call, tries, delivery = calls.stream(options, self._keyed), Tries(self._patience), Delivery()
        while not delivery.done:
            try:
                async with aclosing(self._events(call, tries.timeout(), delivery)) as events:
                    async for event in events:
                        tries.progress()
                        yield event
            except ClientError as error:
                if delivery.done:
                    return
                await asyncio.sleep(tries.pause(error))

    async def array(self, **options: Unpack[Options]) -> ArrayGeneration:
        """`generate` as one numpy array, (num_samples, steps, size), sent as npy. Raises ImportError without numpy."""
        return await self._send(calls.array(options, self._keyed))

    async def png(self, **options: Unpack[Options]) -> Png:
        """`generate` as the bytes of a PNG picture, the samples in a grid; for models of images."""
        return await self._send(calls.png(options, self._keyed))

    def session(
        self,
        session_id: str | None = None,
        *,
        model: str | None = None,
        num_samples: int | None = None,
        seed: int | None = None,
    ) -> AsyncSession:
        """A saved session, or without an id a new one, which its first `resume` makes. Asks the server nothing yet."""
        return AsyncSession(self, session_id, {"model": model, "num_samples": num_samples, "seed": seed})

    async def session_info(self, session_id: str) -> SessionInfo:
        """What is saved under an id. Raises SessionNotFoundError."""
        return await self._send(calls.session(session_id))

    async def fork(self, session_id: str, ttl_seconds: int | None = None) -> AsyncSession:
        """A copy of a session under a new id; both go on by themselves. Raises SessionNotFoundError."""
        return self.session((await self._send(calls.fork(session_id, ttl_seconds, self._keyed))).id)

    async def delete(self, session_id: str) -> None:
        """Forget a session. Raises SessionNotFoundError."""
        await self._send(calls.delete(session_id))

    async def models(self) -> list[Model]:
        """All models that the server knows, by name."""
        return await self._send(calls.models())

    async def model(self, name: str) -> Model:
        """One of them. Raises ModelNotFoundError."""
        return await self._send(calls.model(name))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        tries = Tries(self._patience)
        while True:
            try:
                with translated(self._url):
                    response = await self._http.request(
                        call.method, call.path, content=call.content, headers=call.headers, timeout=tries.timeout()
                    )
                return call.result(response, again=tries.failed > 0)
            except ClientError as error:
                pause = tries.pause(error)
            await asyncio.sleep(pause)

    async def _events(self, call: Call[None], timeout: httpx.Timeout, delivery: Delivery) -> AsyncGenerator[Event]:
        reader = EventReader()
        delivery.connected()
        with translated(self._url):
            async with self._http.stream(
                call.method, call.path, content=call.content, headers=call.headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    await response.aread()
                    check(response)
                async for data in response.aiter_bytes():  # to the very end, so that the connection can be used again
                    for event in reader.read(data):
                        if (new := delivery.new(event)) is not None:
                            yield new
        if not delivery.done:
            raise ConnectionBrokenError(BROKEN_OFF)
