"""What OpenAPI says beyond the types: request bodies with examples, media types, errors."""

from typing import Any

from fastapi.security import HTTPBearer

from vssm_server.api.schema import EXAMPLES, ErrorResponse, ForkRequest, GenerateRequest
from vssm_server.errors import STATUS

GENERATE_ID, GET_SESSION, FORK_SESSION, DELETE_SESSION = "generate", "get_session", "fork_session", "delete_session"

_MEANING = {
    400: "The body is not a JSON object.",
    401: "An API key is needed, or this one is not known, was revoked or has expired.",
    403: "The API key lacks the scope for this.",
    404: "No such model, session or path.",
    406: "None of the media types in Accept can be made.",
    409: "The session is being advanced by another request, or does not fit.",
    413: "The body is too large, or the request for the memory of a worker.",
    415: "The body is not application/json.",
    422: "A field has a value that is not allowed; `param` names it.",
    429: "The queue is full, or a quota of the API key is used up; wait for `Retry-After` seconds.",
    500: "Generation failed.",
    503: "No worker, Redis is away, the checkpoint is damaged, or the server is shutting down.",
    504: "The deadline passed; nothing was saved.",
    507: "Redis has no memory left; nothing was saved.",
}

# For the documentation only: the guard has looked at the key before.
BEARER = HTTPBearer(scheme_name="api_key", description="Where the server has API keys: vssm_...", auto_error=False)

DESCRIPTION = """Generates whole sequences in one parallel pass, conditioned on a prefix if given, streamed chunk by
chunk if asked, and resumed later from a saved state of constant size.

Every error has the body `{"error": {"type", "message", "param", "code", "request_id"}}`. The types: """ + ", ".join(
    f"`{name}` ({code})" for name, code in STATUS.items()
)


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route."""
    described: dict[int | str, str] = {code: _MEANING[code] for code in codes}
    described["default"] = "Any other error."  # also keeps FastAPI from announcing its own 422, which nobody gets here
    return {code: {"model": ErrorResponse, "description": text} for code, text in described.items()}


def _body(schema: dict[str, Any], examples: dict[str, Any] | None = None, required: bool = True) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": schema}
    if examples:
        media["examples"] = examples
    return {"required": required, "content": {"application/json": media}}


IDEMPOTENCY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Your name for this request, for example a UUID. Sent again with the same key and body, it is not "
    "run again: the first answer comes, with `Idempotency-Replayed: true`. A request that failed may run again.",
}


def _links(session: str) -> dict[str, Any]:
    """What can be done with the session that an answer names, by a runtime expression of OpenAPI."""
    place = {"parameters": {"session_id": session}}
    return {
        "look": {"operationId": GET_SESSION, "description": "What was saved.", **place},
        "resume": {
            "operationId": GENERATE_ID,
            "description": "More of the session.",
            "requestBody": {"session_id": session, "length": 1},
        },
        "fork": {"operationId": FORK_SESSION, "description": "A copy, to go another way from here.", **place},
        "delete": {"operationId": DELETE_SESSION, "description": "End it.", **place},
    }


GENERATE: dict[str, Any] = {
    "parameters": [IDEMPOTENCY],
    "requestBody": _body(GenerateRequest.model_json_schema(), EXAMPLES),
    "responses": {
        "200": {
            "description": "The sequences, in the media type of Accept; with `stream` server-sent events: `chunk` with "
            "the position after it as id, then `done` (the response without values) or `error`.",
            "content": {
                "image/png": {"schema": {"type": "string", "format": "binary"}},
                "application/x-npy": {"schema": {"type": "string", "format": "binary"}},
                "text/event-stream": {  # without a schema: OpenAPI 3.1 has none for events
                    "example": 'event: chunk\nid: 2\ndata: {"position":2,"outputs":[{"index":0,"values":[0,1]}]}\n\n',
                },
            },
            "links": _links("$response.body#/session_id"),
        }
    },
}

LOOK: dict[str, Any] = {"responses": {"200": {"links": _links("$response.body#/id")}}}

FORK: dict[str, Any] = {
    "parameters": [IDEMPOTENCY],
    "requestBody": _body(ForkRequest.model_json_schema(), required=False),
    "responses": {"201": {"links": _links("$response.body#/id")}},
}
