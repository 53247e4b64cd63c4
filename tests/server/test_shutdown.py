"""Ending background work."""

import asyncio

from vssm_server.api.state import end_tasks


async def stubborn(times: int) -> None:
    """Loses the first cancellations, as `asyncio.wait_for` may before Python 3.12."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


async def test_a_lost_cancellation_does_not_hang_the_shutdown() -> None:
    tasks = [asyncio.create_task(stubborn(times)) for times in (0, 1, 3)]
    await asyncio.sleep(0)
    await asyncio.wait_for(end_tasks(tasks), 5)
    assert all(task.done() for task in tasks)
