"""What is counted for the whole service, and the names of the totals. Knows nothing of Redis or HTTP.

Every API and worker adds what it has counted to one set of totals in Redis, so any of them can tell all of it, and
nothing is lost or doubled when one of them dies. What belongs to a job is counted by the script that moves the job.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

SEPARATOR = "\t"  # between the parts of a total's name; no model has it in its name
SUM = "sum"
SCALE = 1_000_000  # sums are kept as whole millionths
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


@dataclass(frozen=True)
class Counter:
    """A number that only grows; `name` is that of the metric without `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def of(self, *values: str) -> str:
        """The name of the total for these values of the labels."""
        return SEPARATOR.join((self.name, *values))


@dataclass(frozen=True)
class Histogram:
    """Values by size: bucket i has those of at most `bounds[i]`, and more than the bound before."""

    name: str
    help: str
    bounds: tuple[float, ...]
    labels: tuple[str, ...] = ()

    def of(self, value: float, *values: str) -> Iterator[tuple[str, int]]:
        """What a value adds to which totals."""
        head = SEPARATOR.join((self.name, *values))
        yield f"{head}{SEPARATOR}{bisect_left(self.bounds, value)}", 1
        yield f"{head}{SEPARATOR}{SUM}", round(value * SCALE)


REQUESTS = Counter("vssm_requests", "Accepted requests.", ("model",))
FINISHED = Counter("vssm_requests_finished", "Accepted requests that ended, each once.", ("model", "outcome"))
REPLAYED = Counter(
    "vssm_requests_replayed", "Requests answered by the remembered answer of an earlier one.", ("model",)
)
CANCELLED = Counter("vssm_requests_cancelled", "Requests whose client left.")
FAILURES = Counter("vssm_failures", "Errors answered, also within streams.", ("reason",))
SESSIONS = Counter("vssm_sessions", "Sessions created, resumed, forked and deleted.", ("event",))
STEPS = Counter("vssm_generated_steps", "Steps generated, all samples, repeated work included.", ("model",))
QUEUE_SECONDS = Histogram("vssm_request_queue_seconds", "From acceptance until a worker begins.", SECONDS, ("model",))
FIRST_CHUNK_SECONDS = Histogram(
    "vssm_time_to_first_chunk_seconds", "From request to first chunk of a stream.", SECONDS, ("model",)
)
REQUEST_SECONDS = Histogram("vssm_request_seconds", "From request to last byte.", SECONDS, ("model",))
BATCH_ROWS = Histogram("vssm_batch_rows", "Sequences in a pass.", ROWS, ("model",))

COUNTERS = (REQUESTS, FINISHED, REPLAYED, CANCELLED, FAILURES, SESSIONS, STEPS)
HISTOGRAMS = (QUEUE_SECONDS, FIRST_CHUNK_SECONDS, REQUEST_SECONDS, BATCH_ROWS)

DONE, FAILED, LEFT, DISCARDED = "done", "failed", "cancelled", "discarded"  # outcomes
CREATED, RESUMED, FORKED, DELETED = "created", "resumed", "forked", "deleted"  # events of sessions
