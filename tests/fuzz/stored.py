"""What lies in Redis: states, sessions and messages, rightly signed but wrong inside, and wrongly signed."""

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np
import redis
import torch
from vssm_server import keys
from vssm_server.api import once, resources
from vssm_server.api.plan import Plan, make_plan
from vssm_server.api.schema import GenerateRequest
from vssm_server.errors import Problem
from vssm_server.fleet import read_heartbeat
from vssm_server.hub import Waiter
from vssm_server.messages import (
    Array,
    Chunk,
    Done,
    Failure,
    Heartbeat,
    ModelInfo,
    Passes,
    Request,
    SessionHead,
    decode_reply,
    decode_request,
    encode,
    steps_of,
)
from vssm_server.queue import Job, Queue, digest_of
from vssm_server.seal import JOB, Seal, SealError, answer_of, beat_of, head_of, plan_of, reply_to
from vssm_server.sessions import unsealed
from vssm_server.settings import Settings
from vssm_server.versions import Versions

import vssm
from tests.fuzz.decoders import Target
from tests.server.models import build
from vssm.generation import NonFiniteError

SEAL = Seal(b"the key of all processes, of which the author of these bytes knows nothing")
STRANGER = Seal(b"another key, which is all that somebody else can have")
KINDS = ("image", "text", "series", "exact")
SESSION = "sess_" + "5" * 32
TICKET = once.Ticket(keys.idempotency("a key"), bytes(32))
DIGEST = 16
ODD_ARRAYS = (
    ("uint8", (5,), bytes(5)),
    ("uint8", (), b"1"),
    ("uint8", (0, 3), b""),
    ("float64", (2**40, 2**40, 0), b""),
)


def targets() -> list[Target]:
    """All of them; corpora come from models as small as those of the tests."""
    torch.set_num_threads(1)
    models = {kind: build(kind) for kind in KINDS}
    infos = {kind: msgspec.convert({**model.info(), "name": kind}, ModelInfo) for kind, model in models.items()}
    states = [state.to_bytes() for model in models.values() for state in _states(model)]
    requests, replies = _requests(infos), _replies()
    beats = [encode(Heartbeat(worker="w", models=infos, failed={"other": "is damaged"}, running=1, ended=7))]
    plans = [encode(Plan(request, infos[request.model], 0, 2, (0.1, 0.9))) for request in requests]
    jobs = [encode(request) for request in requests]
    sessions = [b"%d|%d|%s" % (version, 1_764_000_000_000, head) for version, head in _heads(states)]
    sealed = [STRANGER.close(JOB, job) for job in jobs] + [STRANGER.close(reply_to("api"), reply) for reply in replies]
    return [
        Target("state", [state[:-DIGEST] for state in states], _State(models), (vssm.StateError, NonFiniteError), 0.10),
        Target("state-damaged", states, vssm.State.from_bytes, (vssm.StateError,), 0.04),
        Target("session", sessions, _Session(states[0], requests[0]), (Problem,), 0.10),
        Target("job", jobs, _job, (msgspec.MsgspecError,), 0.10),
        Target("reply", replies, _Reply(requests[0]), (msgspec.MsgspecError,), 0.10),
        Target("heartbeat", beats, _heartbeat, (msgspec.MsgspecError,), 0.04),
        Target(
            "remembered", [_pair(plan, reply) for plan in plans for reply in replies], _remembered, (Problem,), 0.05
        ),
        Target("forged", sealed, _forged, (SealError,), 0.12),
    ]


def _states(model: vssm.VSSM) -> list[vssm.State]:
    made = model.generate(num_samples=2, length=3, seed=1).state
    return [model.start(num_samples=1, seed=2**63 - 1), made]


def _requests(infos: dict[str, ModelInfo]) -> list[Request]:
    bodies: list[dict[str, object]] = [
        {"num_samples": 2, "seed": 7, "length": 4},
        {"model": "text", "prefix": "To be", "length": 8, "stream": True, "num_particles": 2},
        {"model": "series", "prefix": [[0.5, -1.0], [2.0, 3.5]], "length": 3, "save": True, "temperature": 0.5},
        {"model": "exact", "length": 9, "max_passes": 2, "output": "mean"},
    ]
    asked = [GenerateRequest.model_validate(body) for body in bodies]
    settings = Settings(redis_url="redis://none")
    plans = [make_plan(one, infos[one.model or "image"], None, settings, "api", None, "alice") for one in asked]
    fixed = {"id": "gen_1", "seed": 7}
    return [msgspec.structs.replace(plan.request, **fixed, session_id=SESSION) for plan in plans]


def _replies() -> list[bytes]:
    values = Array.pack(np.zeros((2, 3, 8), np.uint8))
    reals = Array.pack(np.ones((1, 2, 2), np.float32))
    passes = Passes(1.5, 3, approximate=True)
    return [
        encode(Chunk("gen_1", 3, values, 0.5)),
        encode(Chunk("gen_1", 5, reals)),
        encode(Done(id="gen_1", fingerprint="f", seed=1, position=3, values=values, queue_ms=0, generate_ms=1.5)),
        encode(
            Done(
                id="gen_1", fingerprint="f", seed=1, position=3, values=None, queue_ms=0, generate_ms=1,
                session_version=2, passes=passes,
            )
        ),
        encode(Failure("gen_1", "invalid_value", "wrong", "prefix", 422)),
        *(encode({"event": "chunk", "id": "gen_1", "position": 3, "values": array}) for array in ODD_ARRAYS),
    ]  # fmt: skip


def _heads(states: Sequence[bytes]) -> list[tuple[int, bytes]]:
    common = {"model": "image", "fingerprint": "f" * 64, "position": 3, "num_samples": 2, "state_bytes": 64}
    heads = [
        SessionHead(**common, seed=version, ttl_ms=3_600_000, owner="alice", digest=digest_of(states[0]))  # type: ignore[arg-type]
        for version in (1, 2**40)
    ]
    return [(version, encode(head)) for version, head in enumerate(heads, 1)]


class _State:
    """With a checksum that is right; what is decoded is used for a step if a model takes it."""

    def __init__(self, models: dict[str, vssm.VSSM]) -> None:
        self.models = {model.fingerprint: model for model in models.values()}

    def __call__(self, body: bytes) -> None:
        state = vssm.State.from_bytes(body + blake2b(body, digest_size=DIGEST).digest())
        assert vssm.State.from_bytes(state.to_bytes()).to_bytes() == state.to_bytes()
        if (model := self.models.get(state.fingerprint)) is not None and state.position < 2**40:
            model.generate(state=state, length=1)


class _Session:
    """As the API reads it, and as a worker does; the head is signed for the version that is told."""

    def __init__(self, state: bytes, request: Request) -> None:
        self.state = state
        self.queue = Queue(redis.Redis(), "worker", SEAL)
        self.job = Job(b"1-0", msgspec.structs.replace(request, session_id=SESSION, resume=True), 1)

    def __call__(self, data: bytes) -> None:
        version, _, rest = data.partition(b"|")
        created, _, head = rest.partition(b"|")
        sealed = SEAL.close(head_of(SESSION, int(version) if version.isdigit() and len(version) < 100 else 3), head)
        self.queue._versions = Versions(most=1)  # knows of none
        loaded = self.queue._saved(self.job, sealed, version, self.state)
        assert not isinstance(loaded, str) or loaded in ("untrusted", "missing")
        session = unsealed(SEAL, SESSION, sealed, version, created, 1000)
        resources._session(session).model_dump_json()


def _job(data: bytes) -> None:
    request = decode_request(SEAL.open(JOB, SEAL.close(JOB, data)))
    steps_of(request)
    if request.prefix is not None:
        request.prefix.unpack()


class _Reply:
    """As the API's listener takes it."""

    def __init__(self, request: Request) -> None:
        self.request = request

    def __call__(self, data: bytes) -> None:
        purpose = reply_to("api")
        Waiter(self.request, 0).put(decode_reply(SEAL.open(purpose, SEAL.close(purpose, data))))


def _heartbeat(data: bytes) -> None:
    beat = read_heartbeat("w", SEAL.close(beat_of("w"), data), SEAL)
    assert beat is not None
    for info in beat.models.values():
        resources._model(info)


def _pair(plan: bytes, reply: bytes) -> bytes:
    return len(plan).to_bytes(4, "big") + plan + reply


def _remembered(data: bytes) -> None:
    size = int.from_bytes(data[:4], "big")
    plan, answer = data[4 : 4 + size], data[4 + size :]
    once._replay(
        SEAL,
        TICKET,
        SEAL.close(plan_of(TICKET.name, TICKET.digest), plan),
        SEAL.close(answer_of(TICKET.name), answer),
    )


def _forged(data: bytes) -> None:
    """Of no purpose is it opened; each would be a message of somebody who has no key."""
    places = (JOB, reply_to("api"), beat_of("w"), head_of(SESSION, 3), answer_of(TICKET.name))
    for purpose in places[1:]:
        try:
            SEAL.open(purpose, data)
        except SealError:
            continue
        raise AssertionError(f"bytes of a stranger were opened as {purpose}")
    SEAL.open(places[0], data)
    raise AssertionError("bytes of a stranger were opened as a job")
