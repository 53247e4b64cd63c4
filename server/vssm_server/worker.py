"""A worker: takes jobs off the queue, runs them in passes, commits what they made. Knows nothing of HTTP.

Nothing in memory matters: after any trouble with Redis the worker forgets its tasks and reads back what it still owns.
What is run twice has the same values (noise depends on seed, sample and position only), and only the owner of a job
can end it.
"""

import contextlib
import logging
import time
from collections.abc import Sequence

import redis

from vssm import State, StateError
from vssm_server import device
from vssm_server.catalog import Catalog
from vssm_server.engine import Engine, Step
from vssm_server.errors import STATE_UNTRUSTED, STORAGE_FULL, Problem
from vssm_server.heartbeat import Pulse
from vssm_server.journal import Journal
from vssm_server.messages import Done, Failure, Heartbeat
from vssm_server.queue import MAX_DELIVERIES, Job, Queue, Saved
from vssm_server.task import Task

CLAIM_SECONDS = 0.5
FIRST_PAUSE_SECONDS = 0.1
PATIENCE_MS = 500
MOST_JOBS = 256  # in hand at once; the rest waits where other workers can take it

log = logging.getLogger(__name__)


class Worker:
    """One process, one device."""

    def __init__(
        self,
        client: redis.Redis,
        queue: Queue,
        engine: Engine,
        catalog: Catalog,
        journal: Journal,
        stall_seconds: float,
    ) -> None:
        self.stopping = False
        self.queue = queue
        self.engine = engine
        self.catalog = catalog
        self.journal = journal
        self.waiting: list[Job] = []
        self.tasks: list[Task] = []
        self._ended = 0
        self._next_claim = 0.0
        self._pulse = Pulse(client, self.report, engine.tally, stall_seconds, queue.seal)

    def run(self) -> None:
        """Until told to stop and done: take a batch, load states, run, commit."""
        self._open()
        log.info("%s serves %s", self.queue.consumer, ", ".join(sorted(self.catalog.models)) or "no model")
        while not self.stopping or self.waiting or self.tasks:
            try:
                self.take()
                self.drop_cancelled()
                self.load()
                with self._pulse.watching():
                    steps = self.engine.run(self.tasks)
                self.keep(steps)
                self.commit([task for task in self.tasks if task.ended])
            except redis.RedisError as error:
                log.warning("Redis is away: %s", error)
                self._open()
        with contextlib.suppress(redis.RedisError):
            self.queue.close()
        self._pulse.stop()
        self.journal.close()

    def take(self) -> None:
        """New jobs, those of dead workers, those it holds without knowing. Waits only when there is nothing to do."""
        if time.monotonic() >= self._next_claim:
            self._next_claim = time.monotonic() + CLAIM_SECONDS
            self.queue.sync_clock()
            suspects = 0 if any(task.alone for task in self.tasks) else 1
            self.waiting += self.queue.held(self._jobs())
            self.waiting += self.queue.claim(MOST_JOBS, suspects)
        if self.stopping or any(job.deliveries > 2 for job in self._jobs()):
            return
        if not self._jobs():
            self.waiting += self.queue.wait(PATIENCE_MS)
        self.waiting += self.queue.take(len(self._jobs()), MOST_JOBS)

    def drop_cancelled(self) -> None:
        """Work that nobody waits for any more ends here."""
        for job in self.queue.cancelled(self._jobs()):
            self.end(job, None)

    def load(self) -> None:
        """Makes tasks of the waiting jobs; those of one session go one after another."""
        busy = {task.job.request.session_id for task in self.tasks} - {None}
        ready: list[Job] = []
        jobs, self.waiting = self.waiting, []
        for job in jobs:
            (self.waiting if job.request.session_id in busy else ready).append(job)
            busy |= {job.request.session_id} - {None}
        resuming = [job for job in ready if job.request.resume]
        saved = dict(zip([job.entry for job in resuming], self.queue.load(resuming), strict=True))
        for job in ready:
            try:
                self.tasks.append(self.begin(job, saved.get(job.entry)))
                self.journal.begun(self.tasks[-1])
            except Problem as problem:
                self.fail(job, problem)

    def begin(self, job: Job, saved: Saved | str | None) -> Task:
        """A job with its model and state. Raises Problem."""
        request = job.request
        if job.deliveries > MAX_DELIVERIES:
            raise Problem("generation_failed", f"The request was given up: {MAX_DELIVERIES} workers died of it.")
        if self.queue.now_ms() > job.deadline_ms:
            raise _late(job)
        model = self.catalog.models.get(request.model)
        if model is None and request.model in self.catalog.failed:
            reason = self.catalog.failed[request.model]
            raise Problem("model_failed", f"The checkpoint of {request.model!r} cannot be used: {reason}", "model")
        if model is None:
            raise Problem("model_not_found", f"This worker does not serve {request.model!r}.", "model")
        queue_ms = max(0.0, self.queue.now_ms() - job.accepted_ms)
        if isinstance(saved, str):
            raise _refused(job, saved)
        if saved is None:
            state = model.start(num_samples=request.num_samples, seed=request.seed)
        elif saved.head.fingerprint == model.fingerprint:
            state = _state(saved)
        else:
            message = (
                "The session was made by another checkpoint of this model, so it cannot be continued. Start a new one."
            )
            raise Problem("fingerprint_mismatch", message, "session_id")
        return Task(job, model, state, saved, queue_ms)

    def keep(self, steps: Sequence[Step]) -> None:
        """What a pass made for its tasks: kept, sent on if they stream; a problem ends the job."""
        chunks = []
        self.journal.passed(steps)
        for step in steps:
            job = step.task.job
            if isinstance(step.outcome, Problem):
                self.fail(job, step.outcome)
                continue
            chunk = step.task.take(step.steps, step.outcome)
            if self.queue.now_ms() > job.deadline_ms:
                self.fail(job, _late(job))
            elif chunk is not None:
                chunks.append((job, chunk))
        for (job, _), answer in zip(chunks, self.queue.emit(chunks), strict=True):
            if answer != "sent":
                self.give_way(job, answer)

    def commit(self, tasks: Sequence[Task]) -> None:
        """State, reply and the end of each job, at once. A session that moved on meanwhile is continued from there."""
        ends = [task.end() for task in tasks]
        for end, answer in zip(ends, self.queue.commit(ends, self.engine.tally), strict=True):
            if answer in ("stale", "leased") and not end.job.request.stream:
                self._forget(end.job)
                self.waiting.append(end.job)
            else:
                self.give_way(end.job, answer, end.reply)

    def give_way(self, job: Job, answer: str, reply: Done | Failure | None = None) -> None:
        """After what Redis said of a job: forget it if it is ended, with this reply, or another's; else end it."""
        if answer == "done":
            self._ended += 1
            self.journal.ended(job, reply)
            self._forget(job)
        elif answer == "gone":
            self._forget(job)
        elif answer == "cancelled":
            self.end(job, None)
        elif answer == "late":
            self.fail(job, _late(job))
        else:
            self.fail(job, _refused(job, answer))

    def fail(self, job: Job, problem: Problem) -> None:
        """Ends a job with an error reply."""
        body = problem.body
        self.end(job, Failure(job.request.id, body.type, body.message, body.param, body.code))

    def end(self, job: Job, failure: Failure | None) -> None:
        """Ends a job without a result."""
        answer = self.queue.fail(job, failure, aside=job.deliveries > MAX_DELIVERIES)
        self.give_way(job, answer, failure)

    def report(self) -> Heartbeat:
        """What this worker is and has done."""
        return Heartbeat(
            worker=self.queue.consumer,
            models=self.catalog.infos,
            failed=self.catalog.failed,
            running=len(self.tasks),
            ended=self._ended,
            busy_seconds=self._pulse.busy_seconds,
            device=device.look(self.catalog.device),
        )

    def _open(self) -> None:
        """Begins, or begins again: waits for Redis, then reads back the jobs this worker still owns."""
        pause = FIRST_PAUSE_SECONDS
        for job in self._jobs():
            self._forget(job)
        while not self.stopping:
            try:
                self._pulse.beat()
                self.waiting = self.queue.open()
                self._pulse.start()
                return
            except redis.RedisError as error:
                if pause == FIRST_PAUSE_SECONDS:
                    log.warning("waiting for Redis: %s", error)
                time.sleep(pause)
                pause = min(1.0, 2 * pause)

    def _jobs(self) -> list[Job]:
        return self.waiting + [task.job for task in self.tasks]

    def _forget(self, job: Job) -> None:
        self.journal.lost(job)
        self.tasks = [task for task in self.tasks if task.job is not job]
        self.waiting = [other for other in self.waiting if other is not job]


def _state(saved: Saved) -> State:
    try:
        return State.from_bytes(saved.state)
    except StateError as error:
        raise Problem("fingerprint_mismatch", f"The saved state cannot be read: {error}", "session_id") from None


def _late(job: Job) -> Problem:
    seconds = job.request.timeout_ms / 1e3
    return Problem("deadline_exceeded", f"The request took longer than {seconds:g} seconds; nothing was saved.")


def _refused(job: Job, answer: str) -> Problem:
    session = job.request.session_id
    if answer == "missing":
        return Problem("session_not_found", f"There is no session {session!r} any more.", "session_id")
    if answer == "full":
        return Problem("storage_full", STORAGE_FULL)
    if answer == "untrusted":
        return Problem("state_untrusted", STATE_UNTRUSTED, "session_id")
    if answer == "orphan":
        return Problem("stream_lost", "The connection to the API process was lost; nothing was saved. Try again.")
    message = f"Another request is advancing the session {session!r}; nothing was saved. Try again."
    return Problem("session_conflict", message, "session_id")
