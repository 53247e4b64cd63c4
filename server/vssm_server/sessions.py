"""Saved states as the API sees them: look, fork, delete. The states themselves are read and written by workers only."""

import logging
import re
import secrets
import time
from dataclasses import dataclass

import msgspec
import redis.asyncio

from vssm_server import counters, keys
from vssm_server.connect import script
from vssm_server.errors import STATE_UNTRUSTED, Problem
from vssm_server.messages import SessionHead, decode_head, encode
from vssm_server.quotas import Terms
from vssm_server.record import Record
from vssm_server.seal import Seal, SealError, head_of, version_of
from vssm_server.versions import Versions

MOST_TRIES = 20  # of a fork whose session is advanced all the time
_ID = re.compile(r"sess_[0-9a-f]{32}")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """A session and when it was made and ends (unix seconds); `sealed` is its head as it lies in Redis."""

    id: str
    head: SessionHead
    version: int  # how often it was saved
    created: float
    expires: float
    sealed: bytes


def new_id() -> str:
    """A session id of 128 random bits."""
    return "sess_" + secrets.token_hex(16)


def missing(session_id: str) -> Problem:
    """The answer for a session that is not there, for whatever reason."""
    message = f"There is no session {session_id[:64]!r}; it may have expired. Start one with save=true."
    return Problem("session_not_found", message, "session_id")


def untrusted() -> Problem:
    """The answer for a session that somebody else has written."""
    return Problem("state_untrusted", STATE_UNTRUSTED, "session_id")


def unsealed(
    seal: Seal, session_id: str, sealed: bytes, version: bytes | None, created: bytes | None, left_ms: int
) -> Session:
    """A session as it lies in Redis; version and time of making are in plain there. Raises Problem(state_untrusted)."""
    try:
        number, made_ms = version_of(version), version_of(created)
        head = decode_head(seal.open(head_of(session_id, number), sealed))
    except (msgspec.MsgspecError, SealError) as error:
        log.error("a session cannot be read: %s", error)
        raise untrusted() from None
    return Session(session_id, head, number, made_ms / 1e3, time.time() + left_ms / 1e3, sealed)


class Sessions:
    """The sessions in Redis: one hash each, with a time to live. An owner sees only what is theirs."""

    def __init__(self, client: "redis.asyncio.Redis", seal: Seal, versions: Versions) -> None:
        self._redis = client
        self._seal = seal
        self._versions = versions
        self._fork = client.register_script(script("fork"))
        self._delete = client.register_script(script("delete", out_of_memory=True))

    async def get(self, session_id: str, owner: str, least_version: int = 0) -> Session:
        """Raises Problem(session_not_found), also when it is another owner's, and Problem(state_untrusted)."""
        session = await self._find(session_id, owner)
        if session is not None and not self._versions.see(session_id, session.version):
            session = await self._find(session_id, owner)  # it may have been saved while it was read
            if session is not None and not self._versions.see(session_id, session.version):
                raise untrusted()
        if session is None:
            raise missing(session_id)
        if session.version < least_version:
            raise untrusted()
        return session

    async def _find(self, session_id: str, owner: str) -> Session | None:
        key = self._key(session_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(key, ["head", "version", "created"])
            pipe.pttl(key)
            (sealed, version, created), left_ms = await pipe.execute()
        if sealed is None or left_ms < 0:
            return None
        session = unsealed(self._seal, session_id, sealed, version, created, left_ms)
        return session if session.head.owner == owner else None

    async def fork(
        self, session_id: str, owner: str, ttl_ms: int | None, record: Record | None, terms: Terms | None = None
    ) -> tuple[Session, bool] | None:
        """A copy under a new id, and whether it was made before; None if the record is of another request.

        The copy's head is signed anew for its id; the state stays in Redis. Raises Problem.
        """
        for _ in range(MOST_TRIES):
            made, answer = await self._copy(session_id, owner, ttl_ms, record, terms)
            if answer == "missing":
                raise missing(session_id)
            if answer == "mismatch":
                return None
            if answer != "moved":
                return await self.get(made, owner), answer == "again"
        message = f"The session {session_id!r} is advanced all the time. Try again after the seconds in Retry-After."
        raise Problem("session_conflict", message, "session_id")

    async def _copy(
        self, session_id: str, owner: str, ttl_ms: int | None, record: Record | None, terms: Terms | None
    ) -> tuple[str, str]:
        try:
            source: Session | None = await self.get(session_id, owner)
        except Problem as problem:
            if record is None or problem.body.type != "session_not_found":
                raise
            source = None  # but the record may know of an earlier copy
        copy = new_id()
        names = [keys.session(session_id if source else ""), keys.session(copy), keys.TOTALS]
        names.append("" if record is None else record.name)
        forked = counters.SESSIONS.of(counters.FORKED)
        args: list[int | str | bytes] = [0, copy, forked, b"", b""]
        if source is not None:
            head = self._seal.close(head_of(copy, source.version), encode(source.head))
            args = [ttl_ms or source.head.ttl_ms, copy, forked, source.sealed, head]
        args += [b"", 0] if record is None else [record.digest, record.kept_ms]
        if terms is not None:
            names += keys.stored(owner)
            args += [source.head.state_bytes if source else 0, terms.stored_sessions, terms.stored_bytes]
        answer = await self._fork(keys=names, args=args)
        if terms is not None and answer[0] == b"quota":
            raise terms.refused(answer[1].decode(), answer[2], answer[3])
        return answer[0].decode(), answer[1].decode()

    async def delete(self, session_id: str, owner: str) -> None:
        """Raises Problem(session_not_found), also when it is another owner's."""
        await self.get(session_id, owner)
        names = [self._key(session_id), keys.TOTALS, *(keys.stored(owner) if owner else [])]
        if not await self._delete(keys=names, args=[session_id, counters.SESSIONS.of(counters.DELETED)]):
            raise missing(session_id)
        self._versions.delete(session_id)

    def _key(self, session_id: str) -> str:
        if not _ID.fullmatch(session_id):
            raise missing(session_id)
        return keys.session(session_id)
