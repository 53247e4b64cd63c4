"""When a request is sent again, and how long after.

What may pass by itself is tried again: a connection refused or broken, and the errors of the server that say so. A key
makes that safe: however often a request arrives, it runs once. An error that would come again is raised at once.
"""

import logging
import random
import time
from dataclasses import dataclass

import httpx

from vssm_client.errors import ClientError, ServerError

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 8.0

log = logging.getLogger("vssm_client")


@dataclass(frozen=True)
class Patience:
    """How often and how long: `retries` after the first try, all within `timeout` seconds."""

    retries: int
    timeout: float
    connect_timeout: float

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, not {self.retries}")
        if not (self.timeout > 0 and self.connect_timeout > 0):
            raise ValueError(f"timeouts must be more than 0 seconds, not {self.timeout} and {self.connect_timeout}")


class Tries:
    """The tries of one call."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.progress()

    def progress(self) -> None:
        """Something came: what is left starts anew."""
        self.failed = 0
        self._until = time.monotonic() + self._patience.timeout

    def timeout(self) -> httpx.Timeout:
        """Of the next try."""
        left = max(0.001, self._until - time.monotonic())
        return httpx.Timeout(left, connect=min(left, self._patience.connect_timeout))

    def pause(self, error: ClientError) -> float:
        """Seconds to wait before the next try. Raises the error when there is none."""
        if not error.passing or self.failed >= self._patience.retries:
            raise error
        seconds = pause_seconds(self.failed, error)
        if time.monotonic() + seconds >= self._until:
            raise error
        self.failed += 1
        log.info("%s; trying again in %.1f s", error, seconds)
        return seconds


def pause_seconds(failed: int, error: ClientError) -> float:
    """Doubling and random, so that clients that failed together do not come back together; on top of Retry-After."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failed, 10))
    asked = error.retry_after if isinstance(error, ServerError) else None
    return (asked or 0.0) + random.uniform(longest / 2, longest)
