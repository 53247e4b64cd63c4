"""The names of everything in Redis. All of it begins with `vssm:` and expires by itself, but for those in LASTING."""

import hashlib

JOBS = "vssm:jobs"  # stream of accepted, unanswered requests
GROUP = "workers"  # its consumer group
WORKERS = "vssm:workers"  # sorted set of worker ids by the time of their last heartbeat
ASIDE = "vssm:aside"  # stream of the last jobs that were given up, for inspection
TOTALS = "vssm:totals"  # hash of everything that is counted
APIS = "vssm:apis"  # sorted set of API ids by the time of their last heartbeat
LASTING = (JOBS, WORKERS, ASIDE, TOTALS, APIS)
ACTIVE = "vssm:active"  # sorted set of owners by the time of their last job
BACKLOGGED = "vssm:backlogged"  # how many jobs wait in all backlogs
OWNER = "vssm:owner:"  # + name of an API key: its quotas and jobs
BACKLOG = "vssm:backlog:"  # + name: accepted jobs beyond its share of the stream
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


def idempotency(key: str, owner: str = "") -> str:
    """Record of the request that an owner made with an Idempotency-Key, and of its answer."""
    name = f"{owner}\0{key}" if owner else key
    return f"vssm:idempotency:{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def session(session_id: str) -> str:
    """Hash of one session."""
    return f"vssm:session:{session_id}"


def owner(name: str) -> str:
    """Hash of an owner's jobs and rates."""
    return OWNER + name


def backlog(name: str) -> str:
    """List of an owner's jobs that are not in the stream yet."""
    return BACKLOG + name


def stored(name: str) -> list[str]:
    """An owner's sessions by their end, and their sizes."""
    return [f"vssm:ends:{name}", f"vssm:bytes:{name}"]
