"""POST /generate: from the body to a plan, to the queue, to the answer in the form that was asked for."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response

from vssm_server.api import once, render
from vssm_server.api.body import read
from vssm_server.api.documented import GENERATE, errors
from vssm_server.api.plan import Plan, make_plan
from vssm_server.api.problems import CLIENT_LEFT
from vssm_server.api.schema import GenerateRequest, GenerateResponse
from vssm_server.api.state import Api, api_of
from vssm_server.api.stream import PING_SECONDS, ClientLeft, EventStream, events, unless_left, with_pings
from vssm_server.errors import Problem
from vssm_server.hub import Part, Waiter
from vssm_server.messages import Done

router = APIRouter(tags=["generate"])


@router.post(
    "/generate",
    summary="Generate sequences: new ones, the continuation of a prefix, or more of a session",
    response_model=GenerateResponse,
    responses=errors(400, 404, 406, 409, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=GENERATE,
)
async def generate(request: Request) -> Response:
    """Values depend on the model, the seed and the request only: not on how it is cut, streamed, resumed or batched."""
    began = time.perf_counter()
    api = await api_of(request)
    api.check_open()
    asked = await read(request, GenerateRequest)
    media_type = render.negotiate(request.headers.get("accept", "*/*"), asked.stream)
    ticket = once.ticket(request, asked.model_dump)

    async def plan_it() -> Plan:
        plan = await _plan(asked, api, ticket)
        render.check_quantiles(media_type, plan)
        if media_type == render.PNG:
            render.check_image(plan)
        return plan

    try:
        plan, waiter, replayed = await _accept(request, api, ticket, plan_it)
    except ClientLeft:
        return Response(status_code=CLIENT_LEFT)
    headers = _headers(plan, replayed)
    api.metrics.requests.labels(plan.info.name).inc()
    api.metrics.active.inc()
    if asked.stream:
        return await _stream(request, api, plan, waiter, began, headers)
    try:
        done = await unless_left(waiter.get(), request.receive)
    except ClientLeft:
        api.metrics.cancelled.inc()
        return Response(status_code=CLIENT_LEFT)
    finally:
        await _finish(api, plan, waiter, began)
    assert isinstance(done, Done)
    return Response(_whole(plan, done, media_type, began), media_type=media_type, headers=headers)


async def _accept(
    request: Request, api: Api, ticket: once.Ticket | None, plan_it: Callable[[], Awaitable[Plan]]
) -> tuple[Plan, Waiter, bool]:
    if ticket is not None:
        settings = api.settings
        kept_ms = settings.idempotency_seconds * 1000
        return await unless_left(
            once.accept(api.hub, ticket, plan_it, api.check_open, kept_ms, settings.deadline_seconds), request.receive
        )
    plan = await plan_it()
    waiter = await api.hub.submit(plan.request, plan.start)
    assert waiter is not None  # only a record is ever known already
    return plan, waiter, False


async def _plan(asked: GenerateRequest, api: Api, ticket: once.Ticket | None) -> Plan:
    await api.fleet.check_now()
    session = None if asked.session_id is None else await api.sessions.get(asked.session_id)
    info = api.fleet.model(session.head.model if session else asked.model)
    if session and asked.model not in (None, session.head.model):
        info = api.fleet.models.get(session.head.model, info)
    return make_plan(asked, info, session, api.settings, api.hub.id, ticket.name if ticket else None)


def _headers(plan: Plan, replayed: bool) -> dict[str, str]:
    headers = {"X-Request-Id": plan.request.id, "X-Vssm-Seed": str(plan.request.seed)}
    if plan.request.session_id is not None:
        headers["X-Vssm-Session"] = plan.request.session_id
    return headers | ({once.REPLAYED: "true"} if replayed else {})


def _whole(plan: Plan, done: Done, media_type: str, began: float) -> bytes:
    if media_type == render.PNG:
        render.check_image(plan)
        return render.png(plan, done)
    if media_type == render.NPY:
        return render.npy(render.packed_values(plan, done))
    return render.whole(plan, done, (time.perf_counter() - began) * 1e3)


async def _stream(
    request: Request, api: Api, plan: Plan, waiter: Waiter, began: float, headers: dict[str, str]
) -> Response:
    """What fails before the first chunk is answered with its own status."""
    first: Part | Done | None = None
    try:
        with contextlib.suppress(TimeoutError):
            first = await unless_left(asyncio.wait_for(waiter.get(), PING_SECONDS), request.receive)
    except (Problem, ClientLeft, asyncio.CancelledError) as error:
        await _finish(api, plan, waiter, began)
        if isinstance(error, ClientLeft):
            api.metrics.cancelled.inc()
            return Response(status_code=CLIENT_LEFT)
        raise
    api.metrics.first_chunk_seconds.labels(plan.info.name).observe(time.perf_counter() - began)

    async def closed(left: bool) -> None:
        if left:
            api.metrics.cancelled.inc()
        await _finish(api, plan, waiter, began)

    return EventStream(with_pings(events(plan, waiter, first, began)), closed, headers)


async def _finish(api: Api, plan: Plan, waiter: Waiter, began: float) -> None:
    api.metrics.active.dec()
    api.metrics.seconds.labels(plan.info.name).observe(time.perf_counter() - began)
    await api.hub.release(waiter)
