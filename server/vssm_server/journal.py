"""What a worker tells of its jobs while it works: a line in the log for each, and spans where traces are wanted."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vssm_server.engine import Step
from vssm_server.errors import Problem
from vssm_server.logs import note
from vssm_server.messages import Done, Failure
from vssm_server.queue import Job
from vssm_server.task import Task
from vssm_server.tracing import Tracing, fail

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)


class Journal:
    """Follows each job from its beginning to its end."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing
        self._spans: dict[bytes, Span] = {}

    def begun(self, task: Task) -> None:
        """The job has its model and state: the queue is behind it."""
        request = task.job.request
        if self._tracing is None or request.traceparent is None:
            return
        now = time.time_ns()
        waited = self._tracing.wait("queue", request.traceparent, now - int(task.queue_ms * 1e6), now)
        self._spans[task.job.entry] = self._tracing.work(
            "worker", waited, now, job=request.id, model=request.model, deliveries=task.job.deliveries
        )

    def passed(self, steps: Sequence[Step]) -> None:
        """The engine has made these."""
        if self._tracing is None:
            return
        for step in steps:
            if (worker := self._spans.get(step.task.job.entry)) is not None:
                size = {"steps": step.steps, "rows": step.task.rows, "batch_rows": step.batch_rows}
                span = self._tracing.work("pass", worker, step.began, **size)
                if isinstance(step.outcome, Problem):
                    fail(span, step.outcome.body.type)
                span.end(step.ended)

    def ended(self, job: Job, reply: Done | Failure | None) -> None:
        """The job is answered, or nobody wants an answer."""
        request = job.request
        outcome = "done" if isinstance(reply, Done) else reply.type if reply else "cancelled"
        fields: dict[str, object] = {"outcome": outcome, "model": request.model, "job": request.id}
        if isinstance(reply, Done):
            fields |= {"queue_ms": round(reply.queue_ms, 3), "generate_ms": round(reply.generate_ms, 3)}
        note(log, "job", {**fields, "request_id": request.request_id})
        if (span := self._spans.pop(job.entry, None)) is not None:
            if not isinstance(reply, Done):
                fail(span, outcome)
            span.end()

    def lost(self, job: Job) -> None:
        """The job is another worker's, or will be begun again."""
        if (span := self._spans.pop(job.entry, None)) is not None:
            fail(span, "lost")
            span.end()

    def close(self) -> None:
        """Sends what is left."""
        if self._tracing is not None:
            self._tracing.close()
