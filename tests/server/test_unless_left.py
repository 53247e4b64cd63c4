"""Work ends when its client leaves, and nothing else is cancelled, whatever happens at the same moment."""

import asyncio
import contextlib

import pytest
from starlette.types import Message
from vssm_server.api.stream import ClientLeft, unless_left


class Connection:
    """A client that sends no more, and leaves when told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def settled() -> None:
    """Whatever is on its way arrives, here."""
    task = asyncio.current_task()
    assert task is not None
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.cancelling()


async def test_the_result_of_a_client_that_stays() -> None:
    connection = Connection()
    assert await unless_left(asyncio.sleep(0.01, "done"), connection.receive) == "done"
    connection.left.set()
    await settled()


async def test_the_work_for_a_client_that_leaves_is_cancelled() -> None:
    connection, ended = Connection(), []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(True)

    asyncio.get_running_loop().call_later(0.01, connection.left.set)
    with pytest.raises(ClientLeft):
        await unless_left(work(), connection.receive)
    assert ended
    await settled()


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("ticks", range(5))
async def test_leaving_as_the_work_ends(ticks: int, swallows: bool) -> None:
    connection, answered = Connection(), asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await answered
        except asyncio.CancelledError:
            if not swallows:
                raise

    async def both() -> None:
        connection.left.set()
        for _ in range(ticks):
            await asyncio.sleep(0)
        if not answered.done():
            answered.set_result(None)

    other = asyncio.create_task(both())
    with contextlib.suppress(ClientLeft):
        await unless_left(work(), connection.receive)
    await settled()
    await other


async def test_what_was_made_for_a_client_that_left_is_dropped() -> None:
    """A cancellation that is lost on the way, and work that goes on after it."""
    connection, dropped = Connection(), []

    async def work() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        await asyncio.sleep(0.01)
        return "accepted"

    async def drop(result: str) -> None:
        dropped.append(result)

    asyncio.get_running_loop().call_later(0.01, connection.left.set)
    with pytest.raises(ClientLeft):
        await unless_left(work(), connection.receive, drop)
    assert dropped == ["accepted"]
    await settled()


async def test_a_cancellation_from_outside_stays_one() -> None:
    task = asyncio.create_task(unless_left(asyncio.sleep(10), Connection().receive))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
