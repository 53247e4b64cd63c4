"""POST /v1/completions: prompts to requests, results to choices."""

import time

from fastapi import APIRouter, Request, Response

from vssm_server.api import once, render, run
from vssm_server.api.body import read
from vssm_server.api.openai import errors
from vssm_server.api.openai.answers import Completion
from vssm_server.api.openai.choices import Choices
from vssm_server.api.openai.documented import COMPLETION, responses
from vssm_server.api.openai.prompts import check_text, requests_of, stops_of
from vssm_server.api.openai.schema import CompletionRequest
from vssm_server.api.openai.starting import start_all
from vssm_server.api.openai.streaming import Parts, events
from vssm_server.api.plan import drawn_seed
from vssm_server.api.state import api_of

router = APIRouter(tags=["openai"])


@router.post(
    errors.COMPLETIONS,
    summary="Continue text, as OpenAI's clients ask for it",
    response_model=Completion,
    responses=responses(400, 401, 403, 404, 413, 415, 429, 500, 503, 504, 507),
    openapi_extra=COMPLETION,
)
async def complete(request: Request) -> Response:
    """Tokens are the bytes of UTF-8. Text is that of POST /generate with the same prefix, length and seed."""
    began = time.perf_counter()
    api = await api_of(request)
    api.check_open()
    asked = await read(request, CompletionRequest)
    stops = stops_of(asked.stop)
    ticket = once.ticket(request, asked.model_dump)
    seed = drawn_seed(ticket.name if ticket else None) if asked.seed is None else asked.seed
    wanted = requests_of(asked, seed, api.settings)
    runs = await start_all(request, api, ticket, wanted, check_text, began)
    choices = Choices([started.plan for started in runs], stops, echo=bool(asked.echo))
    if asked.stream:
        parts = Parts(runs)
        usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        return await run.stream(runs, request.receive, parts.get, lambda first: events(parts, choices, first, usage))
    dones = await run.whole(runs, request.receive)
    results = [render.values_of(started.plan, done) for started, done in zip(runs, dones, strict=True)]
    content = render.dumps({**choices.whole(results), **render.passes_of(dones)})
    return Response(content, media_type=render.JSON, headers=run.headers(runs, dones))
