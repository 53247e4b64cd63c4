"""The names of everything in Redis. All of it begins with `vssm:` and expires by itself, but for those in LASTING."""

import hashlib

JOBS = "vssm:jobs"  # stream of accepted, unanswered requests
GROUP = "workers"  # its consumer group
WORKERS = "vssm:workers"  # sorted set of worker ids by the time of their last heartbeat
ASIDE = "vssm:aside"  # stream of the last jobs that were given up, for inspection
TOTALS = "vssm:totals"  # hash of everything that is counted
APIS = "vssm:apis"  # sorted set of API ids by the time of their last heartbeat
LASTING = (JOBS, WORKERS, ASIDE, TOTALS, APIS)
PROBE = "vssm:probe"  # written to see whether Redis has memory left
BEAT = "vssm:worker:"  # + worker id: heartbeat


def beat(worker: str) -> str:
    """Heartbeat of a worker; its absence means the worker is dead."""
    return BEAT + worker


def replies(api: str) -> str:
    """Reply stream of one API process."""
    return f"vssm:replies:{api}"


def alive(api: str) -> str:
    """Heartbeat of one API process."""
    return f"vssm:api:{api}"


def counted(process: str) -> str:
    """Number of the last portion of a process that was added to the totals."""
    return f"vssm:counted:{process}"


def cancel(job: str) -> str:
    """Mark that nobody waits for this job any more."""
    return f"vssm:cancel:{job}"


def idempotency(key: str) -> str:
    """Record of the request that was made with an Idempotency-Key, and of its answer."""
    return f"vssm:idempotency:{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def session(session_id: str) -> str:
    """Hash of one session."""
    return f"vssm:session:{session_id}"
