"""Sessions as objects."""

import httpx
import pytest
from vssm_client import AsyncClient, Client, Generation
from vssm_client.errors import SessionConflictError, SessionNotFoundError

from tests.clients.test_client import rows


def test_begin_resume_and_fork(url: str) -> None:
    with Client(url) as client, client.session(model="image", num_samples=2, seed=9) as session:
        whole = client.generate(model="image", num_samples=2, seed=9)
        assert not session.started
        half = session.resume(length=4, ttl_seconds=100)
        copy = session.fork(ttl_seconds=50)
        rest = session.resume()
        ways = [[*(a.values or []), *(b.values or [])] for a, b in zip(half.outputs, rest.outputs, strict=True)]
        assert ways == [output.values for output in whole.outputs]
        assert rows(copy.resume()) == rows(rest)
        assert copy.id != session.id
        info = client.session(session.id).info()
    assert (info.position, info.num_samples, info.seed, info.model) == (8, 2, 9, "image")
    assert 80 < (info.expires - info.created).total_seconds() <= 110
    assert info.created.utcoffset() is not None


def test_a_block_deletes_what_it_began(url: str) -> None:
    with Client(url) as client:
        with client.session(model="pixels") as session:
            session.resume(length=3)
        with pytest.raises(SessionNotFoundError):
            session.info()
        with client.session(model="pixels") as never, pytest.raises(RuntimeError, match="before its first resume"):
            never.fork()
        with client.session(model="pixels") as early:
            early.resume(length=3)
            early.delete()


def test_the_end_of_a_block_hides_no_error(url: str) -> None:
    def fail(client: Client) -> None:
        with client.session(model="pixels") as session:
            session.resume(length=3)
            client._http.base_url = httpx.URL("http://127.0.0.1:1")  # the deletion will be refused
            raise KeyError

    with Client(url, retries=0) as client, pytest.raises(KeyError):
        fail(client)


def test_streams_and_arrays_begin_and_advance_it(url: str) -> None:
    with Client(url) as client, client.session(model="pixels", seed=1) as session:
        done = list(session.stream(length=300))[-1]
        assert isinstance(done, Generation)
        assert done.session_id == session.id
        array = session.array(length=5)
        assert array.session_id == session.id
        assert session.resume(length=0, prefix=[0, 1]).position == 307
        assert rows(client.generate(model="pixels", seed=1, length=305))[300:] == array.values[0, :, 0].tolist()


def test_an_id_brings_its_own_model(url: str) -> None:
    with Client(url) as client:
        session_id = client.generate(model="pixels", length=2, save=True).session_id
        assert session_id is not None
        with pytest.raises(ValueError, match="leave them out"):
            client.session(session_id, seed=2)
        with pytest.raises(SessionConflictError):
            client.generate(session_id=session_id, seed=2**62)
        client.delete(session_id)
        with pytest.raises(SessionNotFoundError):
            client.fork(session_id)


async def test_async_sessions_are_the_same(url: str) -> None:
    async with AsyncClient(url) as client:
        async with client.session(model="pixels", seed=1) as session:
            await session.resume(length=100)
            copy = await session.fork()
            events = [event async for event in session.stream(length=300)]
            array = await copy.array(length=300)
            assert [row for event in events for row in rows(event)] == array.values[0, :, 0].tolist()
            assert (await session.info()).position == 400
            await copy.delete()
        with pytest.raises(SessionNotFoundError):
            await session.info()
