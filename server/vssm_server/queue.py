"""The worker's end of the queue: a consumer group on one Redis stream. Knows nothing of models or states.

Every way a job can end goes through one Lua script, `finish`, that commits the session, sends the reply and removes the
job together, and only for the consumer that still owns it. So there is exactly one reply, whoever dies when.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import redis
from redis.commands.core import Script
from redis.exceptions import OutOfMemoryError

from vssm_server import counters, keys
from vssm_server.connect import Call, entries, run_each, script, whole_number
from vssm_server.messages import Chunk, Done, Failure, Reply, Request, SessionHead, decode_head, decode_request, encode
from vssm_server.seal import JOB, Seal, SealError, answer_of, head_of, reply_to, version_of
from vssm_server.tally import Tally
from vssm_server.versions import Versions

MAX_DELIVERIES = 3
LEASE_MS = 15_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A request in this worker's hands."""

    entry: bytes  # id in the stream; starts with the time of acceptance
    request: Request
    deliveries: int  # this one included
    waited_since: bytes = b""  # when it was accepted, if it came from a backlog; else the entry's id says it

    @property
    def accepted_ms(self) -> int:
        """When the request was accepted, by Redis' clock."""
        return int(self.waited_since or self.entry.split(b"-")[0])

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


@dataclass(frozen=True)
class End:
    """How a job ends: a reply unless nobody waits, a state to save with it, and what a retry is answered with."""

    job: Job
    reply: Done | Failure | None
    commit: Commit | None = None
    answer: Done | Failure | None = None


class Queue:
    """Jobs for one consumer. All methods raise redis.RedisError when Redis is away.

    What is done for many jobs takes one round trip. Each job's part is atomic by itself, and 'full' is its answer when
    Redis has no room for it; nothing is changed for that job then.
    """

    def __init__(self, client: redis.Redis, consumer: str, seal: Seal, versions: Versions | None = None) -> None:
        self.consumer = consumer
        self.seal = seal
        self._versions = versions or Versions()
        self._redis = client
        self._open = client.register_script(script("open", out_of_memory=True))
        self._discard = client.register_script(script("discard", out_of_memory=True))
        self._held = client.register_script(script("held"))
        self._take = client.register_script(script("take"))
        self._claim = client.register_script(script("claim"))
        self._load = client.register_script(script("load"))
        self._emit = client.register_script(script("emit"))
        self._finish = client.register_script(script("finish"))
        self._fail = client.register_script(script("finish", out_of_memory=True))
        self._count = client.register_script(script("count", out_of_memory=True))
        self._clock_offset = 0.0

    def open(self) -> list[Job]:
        """Makes the group if needed; returns what this consumer had taken and not finished."""
        self._open(keys=[keys.JOBS], args=[keys.GROUP])
        self.sync_clock()
        return self.held([])

    def close(self) -> None:
        """Forgets this consumer, if it holds nothing."""
        if not self.held([]):
            self._redis.xgroup_delconsumer(keys.JOBS, keys.GROUP, self.consumer)

    def sync_clock(self) -> None:
        """Deadlines are by Redis' clock; this measures how far ours is off."""
        seconds, microseconds = self._redis.time()
        self._clock_offset = seconds + microseconds / 1e6 - time.time()

    def now_ms(self) -> float:
        """The time by Redis' clock."""
        return (time.time() + self._clock_offset) * 1e3

    def wait(self, block_ms: int) -> list[Job]:
        """The next new job, if one comes within `block_ms`."""
        answer = self._redis.xreadgroup(keys.GROUP, self.consumer, {keys.JOBS: ">"}, count=1, block=block_ms)
        return self._read(
            [(entry, fields.get(b"job", b""), 1, fields.get(b"at", b"")) for entry, fields in entries(answer)]
        )

    def take(self, holding: int, most: int) -> list[Job]:
        """New jobs that are there: as many as make this worker's share fair, at most `most` with those it holds."""
        rows = self._take(keys=[keys.JOBS, keys.WORKERS], args=[keys.GROUP, self.consumer, holding, most, keys.BEAT])
        return self._read([(entry, fields[1], 1, fields[3] if len(fields) > 3 else b"") for entry, fields in rows])

    def held(self, known: list[Job]) -> list[Job]:
        """What this consumer holds beside the jobs it knows of."""
        args: list[str | bytes] = [keys.GROUP, self.consumer, *(job.entry for job in known)]
        rows = self._held(keys=[keys.JOBS], args=args)
        return self._read(rows)

    def _read(self, rows: list[tuple[bytes, bytes, int, bytes]]) -> list[Job]:
        """The jobs of (entry, request, deliveries, accepted ms or b""); what cannot be read would end every worker."""
        jobs = []
        for entry, payload, deliveries, since in rows:
            try:
                request = decode_request(self.seal.open(JOB, payload))
                jobs.append(Job(entry, request, deliveries, since if whole_number(since) else b""))
            except (msgspec.MsgspecError, SealError) as error:
                log.error("a job cannot be read and is set aside: %s", error)
                names = [keys.JOBS, keys.ASIDE, keys.TOTALS, keys.BACKLOGGED, keys.ACTIVE]
                unread = counters.FINISHED.of("", counters.DISCARDED)
                self._discard(keys=names, args=[keys.GROUP, entry, payload, unread, keys.BACKLOG, keys.OWNER])
        return jobs

    def claim(self, count: int, suspects: int) -> list[Job]:
        """Jobs of dead workers: those delivered once, and up to `suspects` of those delivered more often."""
        rows = self._claim(keys=[keys.JOBS], args=[keys.GROUP, self.consumer, keys.BEAT, count, suspects])
        return self._read([(entry, payload, before + 1, since) for entry, payload, before, since in rows])

    def cancelled(self, jobs: list[Job]) -> list[Job]:
        """Those of `jobs` that nobody waits for any more."""
        marks = self._redis.mget([keys.cancel(job.request.id) for job in jobs]) if jobs else []
        return [job for job, mark in zip(jobs, marks, strict=True) if mark is not None]

    def load(self, jobs: Sequence[Job]) -> list[Saved | str]:
        """The session each job resumes, leased to it if it streams; or 'missing', 'leased', 'full', 'untrusted'."""
        found = self._loaded(jobs)
        older = [k for k, saved in enumerate(found) if saved == "older"]  # perhaps saved anew while it was read
        again = self._loaded([jobs[k] for k in older]) if older else []
        for k, saved in zip(older, again, strict=True):
            if saved == "older":
                log.error("the state of a session is not the one that was saved last")
            found[k] = "untrusted" if saved == "older" else saved
        return found

    def _loaded(self, jobs: Sequence[Job]) -> list[Saved | str]:
        """See `load`; 'older' where another process has seen a newer state."""
        calls: list[Call] = [
            ([keys.session(job.request.session_id or "")], [job.request.id, LEASE_MS if job.request.stream else 0])
            for job in jobs
        ]
        answers = run_each(self._redis, [(self._load, call) for call in calls])
        return [
            self._saved(job, *answer) if isinstance(answer, list) else _text(answer)
            for job, answer in zip(jobs, answers, strict=True)
        ]

    def _saved(self, job: Job, head: bytes, version: bytes, state: bytes) -> Saved | str:
        """What was loaded, if it is what was saved last: signed for session and version, whole, and its owner's."""
        request, name = job.request, job.request.session_id or ""
        try:
            number = version_of(version)
            decoded = decode_head(self.seal.open(head_of(name, number), head))
        except (msgspec.MsgspecError, SealError) as error:
            log.error("a session cannot be read: %s", error)
            return "untrusted"
        if decoded.owner != request.owner:
            return "missing"
        if decoded.digest != digest_of(state):
            log.error("the state of a session is not that of its head")
            return "untrusted"
        if number < request.session_version or not self._versions.see(name, number):
            return "older"
        return Saved(decoded, version, state)

    def emit(self, chunks: Sequence[tuple[Job, Chunk]]) -> list[str]:
        """Sends parts of streams: 'sent', or why not: 'gone', 'cancelled', 'orphan', 'missing', 'stale', 'full'."""
        return self._each([(self._emit, self._emission(job, chunk)) for job, chunk in chunks])

    def _emission(self, job: Job, chunk: Chunk) -> Call:
        request = job.request
        names = [keys.JOBS, keys.replies(request.reply_to), keys.cancel(request.id), keys.alive(request.reply_to)]
        if request.resume and request.session_id is not None:
            names.append(keys.session(request.session_id))
        return names, [keys.GROUP, self.consumer, job.entry, self._reply(job, chunk), request.id, LEASE_MS]

    def _reply(self, job: Job, reply: Reply) -> bytes:
        return self.seal.close(reply_to(job.request.reply_to), encode(reply))

    def commit(self, ends: Sequence[End], tally: Tally | None = None) -> list[str]:
        """Ends jobs well, each with its state, reply, answer to remember and removal at once.

        'done', or why not: 'gone', 'late', 'cancelled', 'missing', 'stale', 'leased', 'full'. What `tally` has counted
        goes along, before the replies: who has an answer finds the work for it among the totals.
        """
        calls = [(self._finish, self._ending(end)) for end in ends]
        portion = tally.portion(self.consumer) if tally is not None and ends else None
        if tally is None or portion is None:
            answers = self._each(calls)
        else:
            number, counting = portion
            _, *answers = self._each([(self._count, counting), *calls])
            tally.arrived(number)
        for end, answer in zip(ends, answers, strict=True):
            if answer == "done" and end.commit is not None:
                self._versions.see(end.job.request.session_id or "", int(end.commit.replaces) + 1)
        return answers

    def fail(self, job: Job, failure: Failure | None, aside: bool = False) -> str:
        """Ends a job with an error or, if nobody waits, without a reply, also when Redis has no room: 'done' or 'gone'.

        A request that was set aside would kill again, so its failure is what a retry is answered with.
        """
        end = End(job, failure, answer=failure if aside else None)
        return self._each([(self._fail, self._ending(end, aside))])[0]

    def _each(self, calls: Sequence[tuple[Script, Call]]) -> list[str]:
        answers = [_text(answer) for answer in run_each(self._redis, calls)]
        for place, call in enumerate(calls if len(calls) > 1 else []):
            if answers[place] == "full":  # together they may have been too much for Redis' buffers: once more, alone
                answers[place] = _text(run_each(self._redis, [call])[0])
        return answers

    def _ending(self, end: End, aside: bool = False) -> Call:
        job, request, commit = end.job, end.job.request, end.commit
        names = [
            keys.JOBS,
            keys.replies(request.reply_to),
            keys.cancel(request.id),
            keys.ASIDE,
            "" if request.session_id is None else keys.session(request.session_id),
            request.idempotency or "",
            keys.TOTALS,
        ]
        deadline = job.deadline_ms if isinstance(end.reply, Done) else 0
        saved: tuple[bytes, bytes, bytes, int] = (b"", b"", b"", 0)
        if commit is not None:
            purpose = head_of(request.session_id or "", int(commit.replaces) + 1)
            head = self.seal.close(purpose, encode(commit.head))
            saved = (commit.replaces, head, commit.state, commit.head.ttl_ms)
        args: list[int | str | bytes] = [
            keys.GROUP,
            self.consumer,
            job.entry,
            b"" if end.reply is None else self._reply(job, end.reply),
            request.id,
            int(aside),
            deadline,
            *saved,
            b"" if end.answer is None else self.seal.close(answer_of(request.idempotency or ""), encode(end.answer)),
            int(request.stream),
            "" if request.resume else request.session_id or "",
            request.session_id or "",
            *_counted(end),
        ]
        if request.owner:
            names += [keys.owner(request.owner), keys.backlog(request.owner), keys.BACKLOGGED]
            names += [*keys.stored(request.owner), keys.ACTIVE]
        return names, args


def _counted(end: End) -> Iterator[str]:
    """The totals that grow by one with this end."""
    outcome = counters.DONE if isinstance(end.reply, Done) else counters.FAILED if end.reply else counters.LEFT
    yield counters.FINISHED.of(end.job.request.model, outcome)
    if end.commit is not None:
        yield counters.SESSIONS.of(counters.RESUMED if end.job.request.resume else counters.CREATED)


def digest_of(state: bytes) -> bytes:
    """What a session's head says of its state."""
    return hashlib.sha256(state).digest()


def _text(answer: object) -> str:
    """A script's answer. Raises what it answered instead, but for want of memory."""
    if isinstance(answer, OutOfMemoryError):
        return "full"
    if isinstance(answer, Exception):
        raise answer
    return answer.decode() if isinstance(answer, bytes) else str(answer)
