"""An accepted request until the last byte of its answer: counted, watched, and cancelled when its client leaves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
from fastapi import Request, Response
from starlette.types import Receive

from vssm_server import counters
from vssm_server.api import access, once
from vssm_server.api.guard import caller_of, need, owner_of
from vssm_server.api.plan import Plan, make_plan
from vssm_server.api.schema import GenerateRequest
from vssm_server.api.state import Api
from vssm_server.api.stream import PING_SECONDS, ClientLeft, EventStream, unless_left, with_pings
from vssm_server.errors import Problem
from vssm_server.hub import Waiter
from vssm_server.messages import Done, steps_of

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What was accepted, and who waits for it. Each must be finished."""

    api: Api
    plan: Plan
    waiter: Waiter
    replayed: bool  # the answer of an earlier request with the same Idempotency-Key
    began: float  # time.perf_counter() when the request came

    @property
    def elapsed_ms(self) -> float:
        """Since the request came."""
        return (time.perf_counter() - self.began) * 1e3

    def failed(self, problem: Problem) -> None:
        """Counts an error that is answered within a stream."""
        self.api.tally.add(counters.FAILURES.of(problem.body.type))

    async def finish(self) -> None:
        """Nobody waits any more: if the work is not done, it is cancelled."""
        seconds, model, first = time.perf_counter() - self.began, self.plan.info.name, self.waiter.first
        self.api.tally.add_all(counters.REQUEST_SECONDS.of(seconds, model))
        if self.plan.request.stream and first is not None:
            self.api.tally.add_all(counters.FIRST_CHUNK_SECONDS.of(first - self.began, model))
        await self.api.hub.release(self.waiter)


def headers(runs: Sequence[Run], dones: Sequence[Done]) -> dict[str, str]:
    """Of the answer that has all results; they were made at the same time."""
    total = runs[0].elapsed_ms
    if runs[0].replayed:  # the others are of the earlier request
        return _headers(runs, {"total": total})
    queue, generate = max(done.queue_ms for done in dones), max(done.generate_ms for done in dones)
    return _headers(runs, {"queue": queue, "generate": generate, "total": total})


def _headers(runs: Sequence[Run], timings: dict[str, float]) -> dict[str, str]:
    request = runs[0].plan.request
    headers = {"X-Vssm-Id": request.id, "X-Vssm-Seed": str(request.seed)}
    if timings:
        headers["Server-Timing"] = ", ".join(f"{name};dur={ms:.3f}" for name, ms in timings.items())
    if request.session_id is not None:
        headers["X-Vssm-Session"] = request.session_id
    headers |= runs[-1].waiter.headers  # what is left of the quotas after the last
    return headers | ({once.REPLAYED: "true"} if runs[0].replayed else {})


async def plan_of(asked: GenerateRequest, request: Request, api: Api, ticket: once.Ticket | None) -> Plan:
    """What is to be done, by what the workers serve now. Raises Problem."""
    if asked.save or asked.session_id is not None:
        need(caller_of(request), "sessions")
    owner = owner_of(request)
    await api.fleet.check_now()
    session = (
        None
        if asked.session_id is None
        else await api.sessions.get(asked.session_id, owner, asked.session_version or 0)
    )
    info = api.fleet.model(session.head.model if session else asked.model)
    if session and asked.model not in (None, session.head.model):
        info = api.fleet.models.get(session.head.model, info)
    plan = make_plan(asked, info, session, api.settings, api.hub.id, ticket.name if ticket else None, owner)
    if (terms := api.terms_of(caller_of(request))) is not None:
        terms.check_steps(steps_of(plan.request))
    exchange = access.current()
    if exchange is None:
        return plan
    marks = {"request_id": exchange.id, "traceparent": exchange.traceparent}
    return replace(plan, request=msgspec.structs.replace(plan.request, **marks))


async def start(
    request: Request, api: Api, ticket: once.Ticket | None, plan: Callable[[], Awaitable[Plan]], began: float
) -> Run:
    """Sends a plan to the workers, or finds what became of it. Raises Problem and ClientLeft."""
    accepted, waiter, replayed = await _accept(request, api, ticket, plan)
    if replayed:
        api.tally.add(counters.REPLAYED.of(accepted.info.name))
    if (exchange := access.current()) is not None:
        exchange.model = accepted.info.name
    return Run(api, accepted, waiter, replayed, began)


async def _accept(
    request: Request, api: Api, ticket: once.Ticket | None, plan: Callable[[], Awaitable[Plan]]
) -> tuple[Plan, Waiter, bool]:
    terms = api.terms_of(caller_of(request))
    if ticket is not None:
        settings = api.settings
        kept_ms = settings.idempotency_seconds * 1000
        return await unless_left(
            once.accept(api.hub, ticket, plan, api.check_open, kept_ms, settings.deadline_seconds, terms),
            request.receive,
            lambda accepted: api.hub.release(accepted[1]),
        )
    new = await plan()
    waiter = await api.hub.submit(new.request, new.start, terms=terms, size=new.saved_bytes)
    assert waiter is not None  # only a record is ever known already
    return new, waiter, False


async def whole(runs: Sequence[Run], receive: Receive) -> list[Done]:
    """The results of requests that do not stream, all of them finished then. Raises Problem and ClientLeft."""
    left = False
    try:
        return await unless_left(_results(runs), receive)
    except ClientLeft:
        left = True
        raise
    finally:
        await _close(runs, left)


async def _results(runs: Sequence[Run]) -> list[Done]:
    parts = [await run.waiter.get() for run in runs]  # they run at the same time; this only waits
    return [part for part in parts if isinstance(part, Done)]


async def stream(
    runs: Sequence[Run],
    receive: Receive,
    get: Callable[[], Awaitable[T]],
    events: Callable[[T | None], AsyncIterator[bytes]],
) -> Response:
    """Server-sent events of runs whose parts `get` gives; `events` is given the first if that comes soon.

    What fails before the first part is answered with its own status. Raises Problem and ClientLeft.
    """
    first: T | None = None
    try:
        with contextlib.suppress(TimeoutError):
            first = await unless_left(asyncio.wait_for(get(), PING_SECONDS), receive)
    except (Problem, ClientLeft, asyncio.CancelledError) as error:
        await _close(runs, isinstance(error, ClientLeft))
        raise
    run = runs[0]
    timings = {} if first is None else {"queue": run.waiter.queue_ms, "first-chunk": run.elapsed_ms}

    async def closed(left: bool) -> None:
        await _close(runs, left)

    return EventStream(with_pings(events(first)), closed, _headers(runs, timings))


async def _close(runs: Sequence[Run], left: bool) -> None:
    if left:
        runs[0].api.tally.add(counters.CANCELLED.of())
    for run in runs:
        await run.finish()
