"""The Python client against a real server that serves the shipped model."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from vssm_client import (
    AsyncClient,
    Chunk,
    Client,
    ClientError,
    ConflictError,
    Generation,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from vssm_client.errors import from_json
from vssm_client.protocol import EventReader

from tests.e2e.serving import Serve


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Serve(tmp_path_factory.mktemp("client")).start()
    yield str(server.client.base_url)
    server.stop()


def rows(generation: Generation | Chunk) -> list[object]:
    return [row for output in generation.outputs for row in output.values or []]


def test_generate_resume_fork_and_delete(url: str) -> None:
    with Client(url) as client:
        whole = client.generate(model="mnist", seed=7)
        half = client.generate(model="mnist", seed=7, length=14, save=True)
        assert half.session_id is not None
        copy = client.fork(half.session_id)
        rest = client.generate(session_id=half.session_id)
        assert rows(half) + rows(rest) == rows(whole)
        assert rows(client.generate(session_id=copy.id)) == rows(rest)
        assert client.session(half.session_id).position == 28
        client.delete(half.session_id)
        with pytest.raises(NotFoundError) as caught:
            client.session(half.session_id)
        assert caught.value.type == "session_not_found"


def test_a_stream_gives_the_values_of_the_whole(url: str) -> None:
    with Client(url) as client:
        *chunks, done = client.stream(seed=3)
        assert len(chunks) > 1
        assert isinstance(done, Generation)
        assert done.position == 28
        assert [row for chunk in chunks for row in rows(chunk)] == rows(client.generate(seed=3))


def test_png_and_models(url: str) -> None:
    with Client(url) as client:
        assert client.png(num_samples=4).startswith(b"\x89PNG")
        assert [(model.name, model.status) for model in client.models()] == [("mnist", "ready")]


def test_wrong_requests_raise_what_the_server_said(url: str) -> None:
    with Client(url) as client:
        with pytest.raises(InvalidError) as caught:
            client.generate(num_samples=0)
        assert (caught.value.status, caught.value.type, caught.value.param) == (422, "invalid_value", "num_samples")
        with pytest.raises(NotFoundError):
            next(client.stream(model="minst"))


async def test_async_client_is_the_same(url: str) -> None:
    async with AsyncClient(url) as client:
        half = await client.generate(seed=7, length=14, save=True)
        assert half.session_id is not None
        copy = await client.fork(half.session_id)
        events = [event async for event in client.stream(session_id=copy.id)]
        assert isinstance(events[-1], Generation)
        assert (await client.session(copy.id)).position == 28
        await client.delete(copy.id)
        assert (await client.models())[0].name == "mnist"
        assert (await client.png()).startswith(b"\x89PNG")


def test_every_kind_of_error_has_its_class() -> None:
    template = b'{"error": {"type": "t", "message": "m", "param": null, "code": %d}}'
    kinds = {409: ConflictError, 422: InvalidError, 429: UnavailableError, 503: UnavailableError}
    for status, kind in kinds.items():
        assert type(from_json(status, template % status, "3")) is kind
    assert from_json(503, template % 503, "3").retry_after == 3
    assert from_json(502, b"<html>").type == "unknown"


def test_an_error_event_in_a_stream_is_raised() -> None:
    reader = EventReader()
    data = 'data: {"error": {"type": "deadline_exceeded", "message": "m", "param": null, "code": 504}}'
    with pytest.raises(UnavailableError, match="deadline_exceeded"):
        list(reader.read(f"event: error\n{data}\n\n".encode()))


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_only_line_feeds_end_lines(size: int) -> None:
    output = '{"index": 0, "values": [226, 128, 168], "text": "a\u2028b\x85c\u2029"}'
    chunk = f': ping\n\nevent: chunk\r\nid: 3\r\ndata: {{"position": 3, "outputs": [{output}]}}\r\n\r\n'.encode()
    reader = EventReader()
    parts = [(2 * chunk)[i : i + size] for i in range(0, 2 * len(chunk), size)]
    events = [event for part in parts for event in reader.read(part)]
    assert [event.outputs[0].text for event in events] == ["a\u2028b\x85c\u2029"] * 2


def test_an_id_never_leads_to_another_path(url: str) -> None:
    with Client(url) as client:
        for name in ("../models", "x?y", "a/b"):
            with pytest.raises(NotFoundError):
                client.session(name)
        for name in ("", ".", ".."):
            with pytest.raises(ValueError, match="session_id"):
                client.delete(name)


def test_a_stream_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    server = Serve(tmp_path, max_length=100_000).start()
    with Client(str(server.client.base_url)) as client:
        events = client.stream(length=100_000)
        next(events)
        server.kill()
        with pytest.raises((ClientError, httpx.TransportError)):
            list(events)
    server.client.close()
