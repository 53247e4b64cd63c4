"""Saved states as the API sees them: look, fork, delete. The states themselves are read and written by workers only."""

import re
import secrets
import time
from dataclasses import dataclass

import redis.asyncio

from vssm_server import counters, keys
from vssm_server.connect import script
from vssm_server.errors import Problem
from vssm_server.messages import SessionHead, decode_head
from vssm_server.record import Record

_ID = re.compile(r"sess_[0-9a-f]{32}")


@dataclass(frozen=True)
class Session:
    """A session and when it was made and ends (unix seconds)."""

    id: str
    head: SessionHead
    created: float
    expires: float


def new_id() -> str:
    """A session id of 128 random bits."""
    return "sess_" + secrets.token_hex(16)


def missing(session_id: str) -> Problem:
    """The answer for a session that is not there, for whatever reason."""
    message = f"There is no session {session_id[:64]!r}; it may have expired. Start one with save=true."
    return Problem("session_not_found", message, "session_id")


def _event(name: str) -> str:
    return counters.SESSIONS.of(name)


class Sessions:
    """The sessions in Redis: one hash each, with a time to live."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._redis = client
        self._fork = client.register_script(script("fork"))
        self._delete = client.register_script(script("delete", out_of_memory=True))

    async def get(self, session_id: str) -> Session:
        """Raises Problem(session_not_found)."""
        if (session := await self._find(session_id)) is None:
            raise missing(session_id)
        return session

    async def _find(self, session_id: str) -> Session | None:
        key = self._key(session_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(key, ["head", "created"])
            pipe.pttl(key)
            (head, created), left_ms = await pipe.execute()
        if head is None or left_ms < 0:
            return None
        return Session(session_id, decode_head(head), int(created) / 1e3, time.time() + left_ms / 1e3)

    async def fork(self, session_id: str, ttl_ms: int | None, record: Record | None) -> tuple[Session, bool] | None:
        """A copy under a new id, and whether it was made before; None if the record is of another request.

        Raises Problem(session_not_found).
        """
        source, copy = await self._find(session_id), new_id()
        names = [self._key(session_id), keys.session(copy), keys.TOTALS]
        args: list[int | str | bytes] = [ttl_ms or (source.head.ttl_ms if source else 0), copy, _event(counters.FORKED)]
        if record is not None:
            names.append(record.name)
            args += [record.digest, record.kept_ms]
        made, answer = [part.decode() for part in await self._fork(keys=names, args=args)]
        if answer == "missing":
            raise missing(session_id)
        return None if answer == "mismatch" else (await self.get(made), answer == "again")

    async def delete(self, session_id: str) -> None:
        """Raises Problem(session_not_found)."""
        names = [self._key(session_id), keys.TOTALS]
        if not await self._delete(keys=names, args=[_event(counters.DELETED)]):
            raise missing(session_id)

    def _key(self, session_id: str) -> str:
        if not _ID.fullmatch(session_id):
            raise missing(session_id)
        return keys.session(session_id)
