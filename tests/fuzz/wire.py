"""What comes over HTTP: bodies of requests and headers at the server, answers and streams at the client."""

import json
from collections.abc import Callable
from typing import TypeVar

import msgspec
import orjson
from pydantic import BaseModel
from vssm_client.errors import AnswerError, ServerError
from vssm_client.events import EventReader
from vssm_client.models import Generation
from vssm_client.replies import parse as parse_answer
from vssm_server.api import render
from vssm_server.api.body import parse
from vssm_server.api.openai.images import factor_of
from vssm_server.api.openai.prompts import check_text, requests_of, stops_of
from vssm_server.api.openai.schema import CompletionRequest, ImageRequest
from vssm_server.api.plan import Plan, check_ttl, make_plan
from vssm_server.api.problems import answer
from vssm_server.api.schema import ForkRequest, GenerateRequest
from vssm_server.errors import Problem
from vssm_server.messages import ModelInfo, encode
from vssm_server.settings import Settings

from tests.fuzz.decoders import Target
from tests.server.models import KINDS, build

DEPTH = 16
MOST_OF_AN_ERROR = 2000  # bytes: what was sent is not sent back
M = TypeVar("M", bound=BaseModel)
SETTINGS = Settings(redis_url="redis://none")
BODIES: dict[str, list[dict[str, object]]] = {
    "generate": [
        {"model": "image", "num_samples": 4, "seed": 7, "length": 4, "temperature": 0.5, "output": "mean"},
        {"model": "text", "prefix": "To be, or n\u00f6t", "length": 64, "stream": True, "num_particles": 2},
        {
            "model": "series",
            "prefix": [[0.5, -1e3], [2, 3.5]],
            "num_samples": 9,
            "quantiles": [0.1, 0.5, 0.9],
            "save": True,
        },
        {"model": "exact", "prefix": [0, 1, 1], "max_passes": 3, "ttl_seconds": 60},
        {"session_id": "sess_" + "5" * 32, "session_version": 3, "length": 1},
    ],
    "completion": [
        {"model": "text", "prompt": "To be", "max_tokens": 64, "n": 2, "seed": 7, "stop": ["\n", "x"], "echo": True},
        {"model": "text", "prompt": [84, 111], "stream": True, "stream_options": {"include_usage": True}, "top_p": 1},
        {"prompt": [[84], [111, 1]], "temperature": 0.5, "logit_bias": {}, "best_of": 1, "user": "someone"},
    ],
    "image": [
        {"model": "colour", "n": 4, "size": "40x40", "seed": 1, "response_format": "b64_json", "quality": "auto"}
    ],
    "fork": [{"ttl_seconds": 60}, {}],
}


def targets() -> list[Target]:
    """All of them; bodies are checked against the models of the tests."""
    infos = {kind: msgspec.convert({**build(kind).info(), "name": kind}, ModelInfo) for kind in KINDS}
    corpora = {name: [json.dumps(body).encode() for body in bodies] for name, bodies in BODIES.items()}
    routes = _Routes(infos)
    accepts = [b"*/*", b"image/png;q=0.5, application/json", b"text/event-stream", b"application/x-npy; q=1"]
    done = {
        "id": "gen_1",
        "model": "m",
        "fingerprint": "f",
        "seed": 1,
        "session_id": None,
        "position": 3,
        "outputs": [{"index": 0, "values": [[1, 2]], "finish_reason": "length"}],
        "usage": {"prefix_steps": 0, "generated_steps": 3},
        "timings": {"queue_ms": 1, "generate_ms": 1, "total_ms": 2},
    }
    answers = [
        json.dumps(done).encode(),
        json.dumps({"error": {"type": "invalid_value", "message": "m", "code": 422}}).encode(),
    ]
    stream = b"".join(
        b"event: %s\nid: 3\ndata: %s\n\n" % event
        for event in (
            (b"chunk", b'{"position":3,"outputs":[{"index":0,"values":[0,1,1],"text":"a"}]}'),
            (b"done", answers[0]),
            (b"error", answers[1]),
        )
    )
    return [
        Target("body-generate", corpora["generate"], routes.generate, (Problem,), 0.10),
        Target("body-completion", corpora["completion"], routes.complete, (Problem,), 0.06),
        Target("body-image", corpora["image"], routes.draw, (Problem,), 0.04),
        Target("body-fork", corpora["fork"], routes.fork, (Problem,), 0.02),
        Target("accept", accepts, _accept, (Problem,), 0.01),
        Target("answer", answers, lambda data: parse_answer(Generation, data), (AnswerError,), 0.02),
        Target("stream", [stream], _read_stream, (AnswerError, ServerError), 0.03),
    ]


class _Routes:
    """What each route does with a body before anything is sent to a worker; what is refused is made an answer."""

    def __init__(self, infos: dict[str, ModelInfo]) -> None:
        self.infos = infos

    def generate(self, data: bytes) -> None:
        """POST /generate."""
        self._refusable("/generate", lambda: self._plan(self._parse(data, GenerateRequest)))

    def complete(self, data: bytes) -> None:
        """POST /v1/completions."""

        def plans() -> None:
            asked = self._parse(data, CompletionRequest)
            stops_of(asked.stop)
            for wanted in requests_of(asked, 7, SETTINGS):
                check_text(self._plan(wanted, "text"))

        self._refusable("/v1/completions", plans)

    def draw(self, data: bytes) -> None:
        """POST /v1/images/generations."""

        def plan() -> None:
            asked = self._parse(data, ImageRequest)
            fields = {"model": asked.model, "num_samples": asked.n or 1, "seed": asked.seed}
            info = self._plan(GenerateRequest.model_validate(fields)).info
            if info.image is not None:
                factor_of(asked.size, info.image, asked.n or 1)

        self._refusable("/v1/images/generations", plan)

    def fork(self, data: bytes) -> None:
        """POST /sessions/.../fork."""
        self._refusable(
            "/sessions/x/fork", lambda: check_ttl(self._parse(data, ForkRequest).ttl_seconds or 1, SETTINGS)
        )

    def _parse(self, data: bytes, model: type[M]) -> M:
        asked = parse(data, model, DEPTH)
        orjson.dumps(["/path", asked.model_dump()], option=orjson.OPT_SORT_KEYS)  # as an Idempotency-Key has it
        return asked

    def _plan(self, asked: GenerateRequest, default: str = "image") -> Plan:
        info = self.infos.get(asked.model or default, self.infos[default])
        plan = make_plan(asked, info, None, SETTINGS, "api", None, "alice")
        encode(plan)
        return plan

    def _refusable(self, path: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Problem as problem:
            response = answer(problem, path)
            if not 400 <= response.status_code < 500 or len(bytes(response.body)) > MOST_OF_AN_ERROR:
                raise AssertionError(f"answered with {response.status_code}: {bytes(response.body)[:200]!r}") from None
            raise


def _accept(data: bytes) -> None:
    render.negotiate(data.decode("latin-1"), stream=len(data) % 2 == 0)


def _read_stream(data: bytes) -> None:
    reader = EventReader()
    for begin in range(0, len(data), 50):
        list(reader.read(data[begin : begin + 50]))
