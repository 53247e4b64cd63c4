"""POST /generate: from the body to a plan, to the queue, to the answer in the form that was asked for."""

import asyncio
import contextlib
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from vssm_server.api import render
from vssm_server.api.body import read
from vssm_server.api.documented import GENERATE, errors
from vssm_server.api.plan import Plan, make_plan
from vssm_server.api.schema import GenerateRequest, GenerateResponse
from vssm_server.api.state import Api, api_of
from vssm_server.api.stream import PING_SECONDS, ClientLeft, EventStream, events, unless_left, with_pings
from vssm_server.errors import Problem
from vssm_server.hub import Part, Waiter
from vssm_server.messages import Done

router = APIRouter(tags=["generate"])
CLIENT_LEFT = 499  # nobody sees it; for the log


@router.post(
    "/generate",
    summary="Generate sequences: new ones, the continuation of a prefix, or more of a session",
    response_model=GenerateResponse,
    responses=errors(400, 404, 406, 409, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=GENERATE,
)
async def generate(request: Request, api: Annotated[Api, Depends(api_of)]) -> Response:
    """Values depend on the model, the seed and the request only: not on how it is cut, streamed, resumed or batched."""
    began = time.perf_counter()
    api.check_open()
    asked = await read(request, GenerateRequest)
    media_type = render.negotiate(request.headers.get("accept", "*/*"), asked.stream)
    plan = await _plan(asked, api)
    if media_type == render.PNG:
        render.check_image(plan)
    waiter = await api.hub.submit(plan.request, plan.start)
    api.metrics.requests.labels(plan.info.name).inc()
    api.metrics.active.inc()
    if asked.stream:
        return await _stream(request, api, plan, waiter, began)
    try:
        done = await unless_left(waiter.get(), request.receive)
    except ClientLeft:
        api.metrics.cancelled.inc()
        return Response(status_code=CLIENT_LEFT)
    finally:
        await _finish(api, plan, waiter, began)
    assert isinstance(done, Done)
    return _whole(plan, done, media_type, began)


async def _plan(asked: GenerateRequest, api: Api) -> Plan:
    await api.fleet.check_now()
    session = None if asked.session_id is None else await api.sessions.get(asked.session_id)
    info = api.fleet.model(session.head.model if session else asked.model)
    if session and asked.model not in (None, session.head.model):
        info = api.fleet.models.get(session.head.model, info)
    return make_plan(asked, info, session, api.settings, api.hub.id)


def _whole(plan: Plan, done: Done, media_type: str, began: float) -> Response:
    headers = {"X-Request-Id": plan.request.id, "X-Vssm-Seed": str(done.seed)}
    if plan.request.session_id is not None:
        headers["X-Vssm-Session"] = plan.request.session_id
    if media_type == render.PNG:
        content = render.png(plan, done)
    elif media_type == render.NPY:
        content = render.npy(render.values_of(plan, done))
    else:
        content = render.whole(plan, done, (time.perf_counter() - began) * 1e3)
    return Response(content, media_type=media_type, headers=headers)


async def _stream(request: Request, api: Api, plan: Plan, waiter: Waiter, began: float) -> Response:
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

    return EventStream(with_pings(events(plan, waiter, first, began)), closed)


async def _finish(api: Api, plan: Plan, waiter: Waiter, began: float) -> None:
    api.metrics.active.dec()
    api.metrics.seconds.labels(plan.info.name).observe(time.perf_counter() - began)
    await asyncio.shield(api.hub.release(waiter))
