"""`Client` and `AsyncClient`: the same methods, blocking and as coroutines.

stream   yields Chunks as they are made, and last the Generation without values
"""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Self, Unpack

import httpx
from pydantic import TypeAdapter

from vssm_client.errors import ClientError, check
from vssm_client.models import Chunk, Generation, Model, Session
from vssm_client.protocol import EventReader, Options, body, session_path

DEFAULT_URL = "http://127.0.0.1:8000"
_PNG = {"accept": "image/png"}
_CUT = "the stream ended before its last event; the session, if any, stands where it was"


def _models(response: httpx.Response) -> list[Model]:
    return TypeAdapter(list[Model]).validate_python(check(response).json()["models"])


class Client:
    """A connection to a server; close it, or use it in a `with` block. `timeout` in seconds."""

    def __init__(self, base_url: str = DEFAULT_URL, timeout: float = 130.0) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=timeout)

    def generate(self, **options: Unpack[Options]) -> Generation:
        """Generate, complete a prefix, or resume a session. Raises ServerError."""
        response = check(self._http.post("/generate", json=body(options)))
        return Generation.model_validate_json(response.content)

    def stream(self, **options: Unpack[Options]) -> Iterator[Chunk | Generation]:
        """`generate` chunk by chunk, the Generation last. Raises ServerError."""
        reader = EventReader()
        with self._http.stream("POST", "/generate", json=body(options, stream=True)) as response:
            if response.is_error:
                response.read()
            check(response)
            for data in response.iter_bytes():
                for event in reader.read(data):
                    yield event
                    if isinstance(event, Generation):
                        return
        raise ClientError(_CUT)

    def png(self, **options: Unpack[Options]) -> bytes:
        """`generate` as a PNG picture, for image models. Raises ServerError."""
        return check(self._http.post("/generate", json=body(options), headers=_PNG)).content

    def session(self, session_id: str) -> Session:
        """What is saved under an id. Raises NotFoundError."""
        return Session.model_validate_json(check(self._http.get(session_path(session_id))).content)

    def fork(self, session_id: str) -> Session:
        """A copy of a session under a new id. Raises NotFoundError."""
        return Session.model_validate_json(check(self._http.post(session_path(session_id, "/fork"))).content)

    def delete(self, session_id: str) -> None:
        """Forget a session. Raises NotFoundError."""
        check(self._http.delete(session_path(session_id)))

    def models(self) -> list[Model]:
        """All models that the server knows."""
        return _models(self._http.get("/models"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """`Client` with coroutines; use it in an `async with` block."""

    def __init__(self, base_url: str = DEFAULT_URL, timeout: float = 130.0) -> None:
        self._http = httpx.AsyncClient(base_url=base_url, timeout=timeout)

    async def generate(self, **options: Unpack[Options]) -> Generation:
        """Generate, complete a prefix, or resume a session. Raises ServerError."""
        response = check(await self._http.post("/generate", json=body(options)))
        return Generation.model_validate_json(response.content)

    async def stream(self, **options: Unpack[Options]) -> AsyncIterator[Chunk | Generation]:
        """`generate` chunk by chunk, the Generation last. Raises ServerError."""
        reader = EventReader()
        async with self._http.stream("POST", "/generate", json=body(options, stream=True)) as response:
            if response.is_error:
                await response.aread()
            check(response)
            async for data in response.aiter_bytes():
                for event in reader.read(data):
                    yield event
                    if isinstance(event, Generation):
                        return
        raise ClientError(_CUT)

    async def png(self, **options: Unpack[Options]) -> bytes:
        """`generate` as a PNG picture, for image models. Raises ServerError."""
        return check(await self._http.post("/generate", json=body(options), headers=_PNG)).content

    async def session(self, session_id: str) -> Session:
        """What is saved under an id. Raises NotFoundError."""
        return Session.model_validate_json(check(await self._http.get(session_path(session_id))).content)

    async def fork(self, session_id: str) -> Session:
        """A copy of a session under a new id. Raises NotFoundError."""
        return Session.model_validate_json(check(await self._http.post(session_path(session_id, "/fork"))).content)

    async def delete(self, session_id: str) -> None:
        """Forget a session. Raises NotFoundError."""
        check(await self._http.delete(session_path(session_id)))

    async def models(self) -> list[Model]:
        """All models that the server knows."""
        return _models(await self._http.get("/models"))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
