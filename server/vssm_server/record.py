"""What Redis remembers of a request that was made with an Idempotency-Key."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """Made together with the job; a second request under that name is not accepted."""

    name: str  # in Redis
    digest: bytes  # of path and body
    plan: bytes
    kept_ms: int


@dataclass(frozen=True)
class Known:
    """A record that is there, with the answer once there is one."""

    digest: bytes
    plan: bytes
    answer: bytes | None
