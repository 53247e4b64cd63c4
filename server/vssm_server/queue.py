"""The worker's end of the queue: a consumer group on one Redis stream. Knows nothing of models or states.

Every way a job can end goes through `finish`, one Lua script that commits the session, sends the reply and removes the
job together, and only for the consumer that still owns it. So there is exactly one reply, whoever dies when.
"""

import time
from dataclasses import dataclass

import redis

from vssm_server import keys
from vssm_server.connect import entries, script
from vssm_server.messages import Chunk, Done, Failure, Request, SessionHead, decode_head, decode_request, encode

MAX_DELIVERIES = 3
LEASE_MS = 15_000


@dataclass(frozen=True)
class Job:
    """A request in this worker's hands."""

    entry: bytes  # id in the stream; starts with the time of acceptance
    request: Request
    deliveries: int  # this one included

    @property
    def accepted_ms(self) -> int:
        """When the request was accepted, by Redis' clock."""
        return int(self.entry.split(b"-")[0])

    @property
    def deadline_ms(self) -> int:
        """When its answer is no longer wanted, by Redis' clock."""
        return self.accepted_ms + self.request.timeout_ms


@dataclass(frozen=True)
class Saved:
    """A session as it was loaded; `version` is what a commit compares."""

    head: SessionHead
    version: bytes
    state: bytes


@dataclass(frozen=True)
class Commit:
    """A state to be saved together with the reply."""

    head: SessionHead
    state: bytes
    replaces: bytes  # version it continues, b"0" for a new session


class Queue:
    """Jobs for one consumer. All methods raise redis.RedisError when Redis is away."""

    def __init__(self, client: redis.Redis, consumer: str) -> None:
        self.consumer = consumer
        self._redis = client
        self._claim = client.register_script(script("claim"))
        self._load = client.register_script(script("load"))
        self._emit = client.register_script(script("emit"))
        self._finish = client.register_script(script("finish"))
        self._clock_offset = 0.0

    def open(self) -> list[Job]:
        """Makes the group if needed; returns what this consumer had taken and not finished."""
        try:
            self._redis.xgroup_create(keys.JOBS, keys.GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self.sync_clock()
        return self._read("0", 10_000, None)

    def close(self) -> None:
        """Forgets this consumer, if it holds nothing."""
        if not self._read("0", 1, None):
            self._redis.xgroup_delconsumer(keys.JOBS, keys.GROUP, self.consumer)

    def sync_clock(self) -> None:
        """Deadlines are by Redis' clock; this measures how far ours is off."""
        seconds, microseconds = self._redis.time()
        self._clock_offset = seconds + microseconds / 1e6 - time.time()

    def now_ms(self) -> float:
        """The time by Redis' clock."""
        return (time.time() + self._clock_offset) * 1e3

    def take(self, count: int, block_ms: int | None) -> list[Job]:
        """Up to `count` new jobs; waits up to `block_ms` for the first, or not at all."""
        return self._read(">", count, block_ms) if count > 0 else []

    def _read(self, start: str, count: int, block_ms: int | None) -> list[Job]:
        answer = self._redis.xreadgroup(keys.GROUP, self.consumer, {keys.JOBS: start}, count=count, block=block_ms)
        return [Job(entry, decode_request(fields[b"job"]), 1) for entry, fields in entries(answer) if fields]

    def claim(self, count: int, suspects: int) -> list[Job]:
        """Jobs of dead workers: those delivered once, and up to `suspects` of those delivered more often."""
        rows = self._claim(keys=[keys.JOBS], args=[keys.GROUP, self.consumer, keys.BEAT, count, suspects])
        return [Job(entry, decode_request(payload), before + 1) for entry, payload, before in rows]

    def cancelled(self, jobs: list[Job]) -> list[Job]:
        """Those of `jobs` that nobody waits for any more."""
        marks = self._redis.mget([keys.cancel(job.request.id) for job in jobs]) if jobs else []
        return [job for job, mark in zip(jobs, marks, strict=True) if mark is not None]

    def load(self, job: Job) -> Saved | str:
        """The session a job resumes, leased to it if it streams; or 'missing' or 'leased'."""
        lease_ms = LEASE_MS if job.request.stream else 0
        answer = self._load(keys=[keys.session(job.request.session_id or "")], args=[job.request.id, lease_ms])
        if isinstance(answer, bytes):
            return answer.decode()
        return Saved(decode_head(answer[0]), answer[1], answer[2])

    def emit(self, job: Job, chunk: Chunk) -> str:
        """Sends a part of a stream: 'sent', or why it is not wanted ('gone', 'cancelled', 'orphan', 'stale')."""
        request = job.request
        names = [keys.JOBS, keys.replies(request.reply_to), keys.cancel(request.id), keys.alive(request.reply_to)]
        if request.resume and request.session_id is not None:
            names.append(keys.session(request.session_id))
        args: list[bytes | str | int] = [
            keys.GROUP,
            self.consumer,
            job.entry,
            encode(chunk),
            request.id,
            LEASE_MS,
        ]
        return _text(self._emit(keys=names, args=args))

    def finish(self, job: Job, reply: Done | Failure | None, commit: Commit | None = None, aside: bool = False) -> str:
        """Ends a job: commit, reply and removal at once.

        'done', or why not: 'gone', 'late', 'cancelled', 'missing', 'stale', 'leased'.
        """
        request = job.request
        names = [keys.JOBS, keys.replies(request.reply_to), keys.cancel(request.id), keys.ASIDE]
        if request.session_id is not None:
            names.append(keys.session(request.session_id))
        deadline = job.deadline_ms if isinstance(reply, Done) else 0
        payload = b"" if reply is None else encode(reply)
        saved: tuple[bytes, bytes, bytes, int] = (b"", b"", b"", 0)
        if commit is not None:
            saved = (commit.replaces, encode(commit.head), commit.state, commit.head.ttl_ms)
        args: list[bytes | str | int] = [
            keys.GROUP,
            self.consumer,
            job.entry,
            payload,
            request.id,
            int(aside),
            deadline,
            *saved,
        ]
        return _text(self._finish(keys=names, args=args))


def _text(answer: object) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)
