"""Idempotency-Key: however often a request is sent with one key, it is run once and answered alike.

The record is made together with the job and gets its answer together with the commit. So a retry finds no record
(nothing was accepted, or it failed and changed nothing: it runs), a record without an answer (it waits), or the answer.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import orjson
from starlette.requests import HTTPConnection

from vssm_server import keys
from vssm_server.api.guard import owner_of
from vssm_server.api.plan import Plan
from vssm_server.errors import Problem, invalid
from vssm_server.hub import Hub, Waiter
from vssm_server.messages import Chunk, Done, decode_reply, decoder, encode
from vssm_server.quotas import Terms
from vssm_server.record import Record
from vssm_server.seal import Seal, SealError, answer_of, plan_of

HEADER = "Idempotency-Key"
log = logging.getLogger(__name__)
REPLAYED = "Idempotency-Replayed"
MAX_LENGTH = 255
LOOK_SECONDS = 0.05

_decode_plan: Callable[[bytes], Plan] = decoder(Plan)


@dataclass(frozen=True)
class Ticket:
    """A key and what it was sent with."""

    name: str
    digest: bytes


def mismatch() -> Problem:
    """The answer when a key is used for a second request."""
    message = f"This {HEADER} was used for another request. Send the same body again, or take a new key."
    return Problem("idempotency_mismatch", message, HEADER)


def ticket(request: HTTPConnection, body: Callable[[], object]) -> Ticket | None:
    """Of a request, if it has a key. Raises Problem."""
    keys_sent = request.headers.getlist(HEADER)
    if not keys_sent:
        return None
    if len(keys_sent) > 1:
        raise invalid(HEADER, f"{HEADER} was sent {len(keys_sent)} times; send one.")
    key = keys_sent[0]
    if not (1 <= len(key) <= MAX_LENGTH and key.isascii() and key.isprintable()):
        raise invalid(HEADER, f"{HEADER} must be 1 to {MAX_LENGTH} printable ASCII characters, for example a UUID.")
    content = orjson.dumps([request.url.path, body()], option=orjson.OPT_SORT_KEYS)
    return Ticket(keys.idempotency(key, owner_of(request)), hashlib.sha256(content).digest())


async def accept(
    hub: Hub,
    ticket: Ticket,
    plan: Callable[[], Awaitable[Plan]],
    check_open: Callable[[], None],
    kept_ms: int,
    patience_seconds: float,
    terms: Terms | None = None,
) -> tuple[Plan, Waiter, bool]:
    """The plan and its waiter, and whether it is the answer of an earlier request. Raises Problem."""
    until = time.monotonic() + patience_seconds
    while time.monotonic() < until:
        check_open()
        if (known := await hub.known(ticket.name)) is None:
            new = await plan()
            record = Record(
                ticket.name, ticket.digest, hub.seal.close(plan_of(ticket.name, ticket.digest), encode(new)), kept_ms
            )
            if (waiter := await hub.submit(new.request, new.start, record, terms, new.saved_bytes)) is not None:
                return new, waiter, False
            continue
        if known.digest != ticket.digest:
            raise mismatch()
        if known.answer is not None:
            return *_replay(hub.seal, ticket, known.plan, known.answer), True
        await asyncio.sleep(LOOK_SECONDS)
    message = f"The first request with this {HEADER} has no answer after {patience_seconds:g} seconds. Try again."
    raise Problem("deadline_exceeded", message)


def _replay(seal: Seal, ticket: Ticket, remembered_plan: bytes, remembered_answer: bytes) -> tuple[Plan, Waiter]:
    try:
        plan = _decode_plan(seal.open(plan_of(ticket.name, ticket.digest), remembered_plan))
        answer = decode_reply(seal.open(answer_of(ticket.name), remembered_answer))
    except (msgspec.MsgspecError, SealError) as error:
        log.error("a remembered answer cannot be read: %s", error)
        raise mismatch() from None  # remembered by another version of the server, or made up
    waiter = Waiter(plan.request, plan.start)
    if plan.request.stream and isinstance(answer, Done) and answer.values is not None:
        waiter.put(Chunk(answer.id, answer.position, answer.values))
        answer = msgspec.structs.replace(answer, values=None)
    waiter.put(answer)
    return plan, waiter
