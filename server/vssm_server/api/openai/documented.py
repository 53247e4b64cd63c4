"""What OpenAPI says of the /v1 routes beyond the types: bodies with examples, answers, errors."""

from typing import Any

from pydantic import BaseModel

from vssm_server.api.documented import IDEMPOTENCY
from vssm_server.api.openai.answers import Error
from vssm_server.api.openai.schema import CompletionRequest, ImageRequest

_MEANING = {
    400: "A field has a value that is not allowed (`param` names it), or the body is not a JSON object.",
    401: "An API key is needed, or this one is not known, was revoked or has expired.",
    403: "The API key lacks the scope for this.",
    404: "No such model or path.",
    413: "The body is too large, or the request for the memory of a worker.",
    415: "The body is not application/json.",
    429: "The queue is full, or a quota of the API key is used up; wait for `Retry-After` seconds.",
    500: "Generation failed.",
    503: "No worker, Redis is away, the checkpoint is damaged, or the server is shutting down.",
    504: "The deadline passed.",
    507: "Redis has no memory left.",
}
_COMPLETIONS: dict[str, Any] = {
    "text": {
        "summary": "Two continuations of a prompt",
        "value": {"model": "shakespeare", "prompt": "To be, or ", "max_tokens": 64, "n": 2, "seed": 7},
    },
    "bytes": {
        "summary": "A prompt as bytes, up to the end of the line",
        "value": {"model": "shakespeare", "prompt": [84, 111], "max_tokens": 64, "stop": "\n", "seed": 7},
    },
    "stream": {
        "summary": "Streamed, with the usage at the end",
        "value": {
            "model": "shakespeare",
            "prompt": "To be, or ",
            "max_tokens": 256,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    },
}
_IMAGES: dict[str, Any] = {
    "digits": {"summary": "Four digits", "value": {"model": "mnist", "prompt": "", "n": 4, "seed": 7}},
    "large": {"summary": "Ten times as large", "value": {"model": "mnist", "prompt": "", "size": "280x280"}},
}
_STREAM = {
    "example": 'data: {"id":"cmpl-...","object":"text_completion",...,"choices":[{"text":"or not","index":0,'
    '"logprobs":null,"finish_reason":null}],"usage":null}\n\ndata: [DONE]\n\n',
}


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route."""
    described: dict[int | str, str] = {**{code: _MEANING[code] for code in codes}, "default": "Any other error."}
    return {code: {"model": Error, "description": text} for code, text in described.items()}


def _operation(body: type[BaseModel], examples: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": body.model_json_schema(), "examples": examples}}
    return {
        "parameters": [IDEMPOTENCY],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer},
    }


COMPLETION = _operation(
    CompletionRequest,
    _COMPLETIONS,
    {
        "description": "All completions, or with `stream` their parts as they are made.",
        "content": {"text/event-stream": _STREAM},
    },
)
IMAGES = _operation(ImageRequest, _IMAGES, {"description": "Images in base64."})
