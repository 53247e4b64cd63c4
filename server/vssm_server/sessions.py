"""Saved states as the API sees them: look, fork, delete. The states themselves are read and written by workers only."""

import re
import secrets
import time
from dataclasses import dataclass

import redis.asyncio

from vssm_server import keys
from vssm_server.connect import script
from vssm_server.errors import Problem
from vssm_server.messages import SessionHead, decode_head

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


class Sessions:
    """The sessions in Redis: one hash each, with a time to live."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._redis = client
        self._fork = client.register_script(script("fork"))

    async def get(self, session_id: str) -> Session:
        """Raises Problem(session_not_found)."""
        key = self._key(session_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(key, ["head", "created"])
            pipe.pttl(key)
            (head, created), left_ms = await pipe.execute()
        if head is None or left_ms < 0:
            raise missing(session_id)
        return Session(session_id, decode_head(head), int(created) / 1e3, time.time() + left_ms / 1e3)

    async def fork(self, session_id: str, ttl_ms: int | None) -> Session:
        """A copy under a new id. Raises Problem(session_not_found)."""
        source = await self.get(session_id)
        copy = new_id()
        args = [source.head.ttl_ms if ttl_ms is None else ttl_ms]
        if not await self._fork(keys=[self._key(session_id), keys.session(copy)], args=args):
            raise missing(session_id)
        return await self.get(copy)

    async def delete(self, session_id: str) -> None:
        """Raises Problem(session_not_found)."""
        if not await self._redis.delete(self._key(session_id)):
            raise missing(session_id)

    def _key(self, session_id: str) -> str:
        if not _ID.fullmatch(session_id):
            raise missing(session_id)
        return keys.session(session_id)
