"""POST /generate: from the body to a plan, to the queue, to the answer in the form that was asked for."""

import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response

from vssm_server.api import once, render, run
from vssm_server.api.body import read
from vssm_server.api.documented import GENERATE, GENERATE_ID, errors
from vssm_server.api.plan import Plan
from vssm_server.api.schema import GenerateRequest, GenerateResponse
from vssm_server.api.state import api_of
from vssm_server.api.stream import events
from vssm_server.hub import Part
from vssm_server.messages import Done

router = APIRouter(tags=["generate"])


@router.post(
    "/generate",
    operation_id=GENERATE_ID,
    summary="Generate sequences: new ones, the continuation of a prefix, or more of a session",
    response_model=GenerateResponse,
    responses=errors(400, 401, 403, 404, 406, 409, 413, 415, 422, 429, 500, 503, 504, 507),
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
        plan = await run.plan_of(asked, request, api, ticket)
        render.check_quantiles(media_type, plan)
        if media_type == render.PNG:
            render.check_image(plan)
        return plan

    started = await run.start(request, api, ticket, plan_it, began)
    if asked.stream:
        return await _stream(request, started)
    [done] = await run.whole([started], request.receive)
    content = _whole(started, done, media_type)
    return Response(content, media_type=media_type, headers=run.headers([started], [done]))


def _whole(started: run.Run, done: Done, media_type: str) -> bytes:
    plan = started.plan
    if media_type == render.PNG:
        render.check_image(plan)
        return render.png(plan, done)
    if media_type == render.NPY:
        return render.npy(render.packed_values(plan, done))
    return render.whole(plan, done, started.elapsed_ms)


async def _stream(request: Request, started: run.Run) -> Response:
    def encoded(first: Part | Done | None) -> AsyncIterator[bytes]:
        return events(started.plan, started.waiter, first, started.began, started.failed)

    return await run.stream([started], request.receive, started.waiter.get, encoded)
