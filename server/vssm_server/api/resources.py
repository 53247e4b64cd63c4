"""Sessions and models: what is there to be used."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from vssm_server.api import once
from vssm_server.api.body import read
from vssm_server.api.documented import DELETE_SESSION, FORK, FORK_SESSION, GET_SESSION, LOOK, errors
from vssm_server.api.guard import caller_of, owner_of
from vssm_server.api.plan import check_ttl
from vssm_server.api.schema import ForkRequest, ModelList, ModelResponse, SessionResponse
from vssm_server.api.state import Api, api_of
from vssm_server.messages import ModelInfo
from vssm_server.record import Record
from vssm_server.sessions import Session

router = APIRouter()
LAST_SECOND = 253_402_300_799  # of the year 9999; times in Redis may have been made up
Shared = Annotated[Api, Depends(api_of)]


@router.get(
    "/sessions/{session_id}",
    operation_id=GET_SESSION,
    tags=["sessions"],
    summary="What a session is",
    responses=errors(401, 403, 404, 409, 503),
    openapi_extra=LOOK,
)
async def get_session(session_id: str, request: Request, api: Shared) -> SessionResponse:
    """Position, seed, model and time of expiry of a saved state."""
    return _session(await api.sessions.get(session_id, owner_of(request)))


@router.post(
    "/sessions/{session_id}/fork",
    operation_id=FORK_SESSION,
    tags=["sessions"],
    status_code=201,
    summary="Copy a session under a new id",
    responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=FORK,
)
async def fork_session(session_id: str, request: Request, response: Response, api: Shared) -> SessionResponse:
    """Original and copy continue independently; given the same requests, they make the same values."""
    api.check_open()
    asked = await read(request, ForkRequest) if await request.body() else ForkRequest(ttl_seconds=None)
    ttl_ms = None if asked.ttl_seconds is None else check_ttl(asked.ttl_seconds, api.settings) * 1000
    ticket = once.ticket(request, asked.model_dump)
    kept_ms = api.settings.idempotency_seconds * 1000
    record = None if ticket is None else Record(ticket.name, ticket.digest, b"", kept_ms)
    forked = await api.sessions.fork(session_id, owner_of(request), ttl_ms, record, api.terms_of(caller_of(request)))
    if forked is None:
        raise once.mismatch()
    copy, again = forked
    if again:
        response.headers[once.REPLAYED] = "true"
    return _session(copy)


@router.delete(
    "/sessions/{session_id}",
    operation_id=DELETE_SESSION,
    tags=["sessions"],
    status_code=204,
    summary="End a session",
    responses=errors(401, 403, 404, 409, 503),
)
async def delete_session(session_id: str, request: Request, api: Shared) -> Response:
    """The state is gone at once."""
    await api.sessions.delete(session_id, owner_of(request))
    return Response(status_code=204)


@router.get("/models", tags=["models"], summary="All models", responses=errors(401, 403, 503, 507))
async def list_models(api: Shared) -> ModelList:
    """Those served, and those whose checkpoint could not be used."""
    await api.fleet.check_now()
    ready = [_model(info) for info in api.fleet.models.values()]
    failed = [_broken(name, why) for name, why in api.fleet.failed.items()]
    return ModelList(models=sorted(ready + failed, key=lambda model: model.name))


@router.get("/models/{name:path}", tags=["models"], summary="One model", responses=errors(401, 403, 404, 503, 507))
async def get_model(name: str, api: Shared) -> ModelResponse:
    """Its sizes, values and limits; or what is wrong with its checkpoint."""
    await api.fleet.check_now()
    if name in api.fleet.failed:
        return _broken(name, api.fleet.failed[name])
    return _model(api.fleet.model(name, None))


def _session(session: Session) -> SessionResponse:
    head = session.head
    return SessionResponse(
        id=session.id,
        model=head.model,
        fingerprint=head.fingerprint,
        seed=head.seed,
        version=session.version,
        position=head.position,
        num_samples=head.num_samples,
        state_bytes=head.state_bytes,
        created=_iso(session.created),
        expires=_iso(session.expires),
    )


def _iso(seconds: float) -> str:
    return (
        datetime.fromtimestamp(min(seconds, LAST_SECOND), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _model(info: ModelInfo) -> ModelResponse:
    return ModelResponse.model_validate({**msgspec.to_builtins(info), "status": "ready"})


def _broken(name: str, why: str) -> ModelResponse:
    return ModelResponse(name=name, status="failed", error=why)
