"""`Client`: every method one call, sent until it is answered."""

from collections.abc import Generator, Mapping
from contextlib import closing
from time import sleep
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
from vssm_client.session import Session

T = TypeVar("T")


class Client:
    """A connection to a server, for any number of threads; close it, or use it in a `with` block.

    base_url         where the server is, http:// or https://
    timeout          seconds that a call may take, all its tries and pauses included; in a stream, between two events
    api_key          where the server wants one; by default that of the environment variable VSSM_API_KEY
    connect_timeout  seconds until a connection stands
    retries          how often a call is tried again when it may then succeed; with 0 no Idempotency-Key is sent either
    headers          sent with every request, for example what a gateway asks for
    transport        what carries requests, for proxies and special TLS; by default httpx's own

    Connections are kept and used again. Every method raises a `ClientError` when it fails: see `vssm_client.errors`.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._patience = Patience(retries, timeout, connect_timeout)
        self._url, self._keyed = checked_url(base_url), retries > 0
        self._http = httpx.Client(
            base_url=base_url, headers=headers_with(api_key, headers), transport=transport, limits=LIMITS
        )

    def generate(self, **options: Unpack[Options]) -> Generation:
        """Generate, complete a prefix, or resume a session."""
        return self._send(calls.generate(options, self._keyed))

    def stream(self, **options: Unpack[Options]) -> Generator[Event]:
        """`generate` in Chunks as they are made, and last the Generation without values.

        Nothing is sent before the first event is asked for. After a break the stream goes on where it was, without
        a gap and without a repetition. Closing the generator cancels the request: then
        nothing is saved.
        """
        call, tries, delivery = calls.stream(options, self._keyed), Tries(self._patience), Delivery()
        while not delivery.done:
            try:
                with closing(self._events(call, tries.timeout(), delivery)) as events:
                    for event in events:
                        tries.progress()
                        yield event
            except ClientError as error:
                if delivery.done:
                    return
                sleep(tries.pause(error))

    def array(self, **options: Unpack[Options]) -> ArrayGeneration:
        """`generate` as one numpy array, (num_samples, steps, size), sent as npy. Raises ImportError without numpy."""
        return self._send(calls.array(options, self._keyed))

    def png(self, **options: Unpack[Options]) -> Png:
        """`generate` as the bytes of a PNG picture, the samples in a grid; for models of images."""
        return self._send(calls.png(options, self._keyed))

    def session(
        self,
        session_id: str | None = None,
        *,
        model: str | None = None,
        num_samples: int | None = None,
        seed: int | None = None,
    ) -> Session:
        """A saved session, or without an id a new one, which its first `resume` makes. Asks the server nothing yet."""
        return Session(self, session_id, {"model": model, "num_samples": num_samples, "seed": seed})

    def session_info(self, session_id: str) -> SessionInfo:
        """What is saved under an id. Raises SessionNotFoundError."""
        return self._send(calls.session(session_id))

    def fork(self, session_id: str, ttl_seconds: int | None = None) -> Session:
        """A copy of a session under a new id; both go on by themselves. Raises SessionNotFoundError."""
        return self.session(self._send(calls.fork(session_id, ttl_seconds, self._keyed)).id)

    def delete(self, session_id: str) -> None:
        """Forget a session. Raises SessionNotFoundError."""
        self._send(calls.delete(session_id))

    def models(self) -> list[Model]:
        """All models that the server knows, by name."""
        return self._send(calls.models())

    def model(self, name: str) -> Model:
        """One of them. Raises ModelNotFoundError."""
        return self._send(calls.model(name))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        tries = Tries(self._patience)
        while True:
            try:
                with translated(self._url):
                    response = self._http.request(
                        call.method, call.path, content=call.content, headers=call.headers, timeout=tries.timeout()
                    )
                return call.result(response, again=tries.failed > 0)
            except ClientError as error:
                pause = tries.pause(error)
            sleep(pause)

    def _events(self, call: Call[None], timeout: httpx.Timeout, delivery: Delivery) -> Generator[Event]:
        reader = EventReader()
        delivery.connected()
        with (
            translated(self._url),
            self._http.stream(
                call.method, call.path, content=call.content, headers=call.headers, timeout=timeout
            ) as response,
        ):
            if not response.is_success:
                response.read()
                check(response)
            for data in response.iter_bytes():  # to the very end, so that the connection can be used again
                for event in reader.read(data):
                    if (new := delivery.new(event)) is not None:
                        yield new
        if not delivery.done:
            raise ConnectionBrokenError(BROKEN_OFF)
