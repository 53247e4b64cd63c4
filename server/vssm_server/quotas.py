"""What one API key may take: rates, work at the same time, and what is stored. Counted in Redis, for all APIs together.

It is all decided in the script that accepts a request, so it costs no round trip and a refused request costs nothing.
Rates are leaky buckets (GCRA): a minute's worth may come at once and is paid off evenly.
"""

import math

import msgspec

from vssm_server.errors import Problem, invalid
from vssm_server.settings import Settings

_WHAT = {
    "requests_per_minute": "requests a minute",
    "steps_per_minute": "steps (samples x length, prefixes included) a minute",
    "concurrent_requests": "requests at the same time",
    "open_streams": "streams at the same time",
    "stored_sessions": "stored sessions; those that expire or are deleted make room",
    "stored_bytes": "bytes of stored sessions; those that expire or are deleted make room",
}
LONGEST_WAIT_SECONDS = 3600


class Quotas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a key; None takes the server's default, 0 is no limit."""

    requests_per_minute: int | None = None
    steps_per_minute: int | None = None
    concurrent_requests: int | None = None
    open_streams: int | None = None
    stored_sessions: int | None = None
    stored_bytes: int | None = None

    def __post_init__(self) -> None:
        if any(value is not None and not 0 <= value < 2**53 for value in msgspec.structs.astuple(self)):
            raise ValueError("quotas must be 0 (no limit) or more")


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one owner: whole numbers, 0 for no limit."""

    owner: str
    requests_per_minute: int
    steps_per_minute: int
    concurrent_requests: int
    open_streams: int
    stored_sessions: int
    stored_bytes: int

    @property
    def policy(self) -> str:
        """The header RateLimit-Policy; empty without rates."""
        rates = {"requests": self.requests_per_minute, "steps": self.steps_per_minute}
        return ", ".join(f'{limit};w=60;name="{name}"' for name, limit in rates.items() if limit)

    def check_steps(self, steps: int) -> None:
        """Raises Problem for a request that could never be paid."""
        if self.steps_per_minute and steps > self.steps_per_minute:
            message = (
                f"The request takes {steps} steps, and the API key {self.owner!r} has {self.steps_per_minute} a minute."
            )
            raise invalid("length", f"{message} Ask for less at a time.")

    def headers(self, requests_left: int, requests_ms: int, steps_left: int, steps_ms: int) -> dict[str, str]:
        """RateLimit-* of an accepted request: of the rate that is nearest to its end."""
        rates = [
            (left / limit, limit, left, ms)
            for limit, left, ms in (
                (self.requests_per_minute, requests_left, requests_ms),
                (self.steps_per_minute, steps_left, steps_ms),
            )
            if limit
        ]
        if not rates:
            return {}
        _, limit, left, ms = min(rates)
        return self._headers(limit, left, math.ceil(ms / 1e3))

    def refused(self, name: str, limit: int, wait_ms: int) -> Problem:
        """The answer to a request beyond a quota."""
        seconds = min(LONGEST_WAIT_SECONDS, max(1, math.ceil(wait_ms / 1e3)))
        message = (
            f"The API key {self.owner!r} may have {limit} {_WHAT[name]}. Try again after the seconds in Retry-After."
        )
        headers = self._headers(limit, 0, seconds) if name.endswith("_per_minute") else {}
        return Problem("quota_exceeded", message, retry_after=seconds, headers=headers)

    def _headers(self, limit: int, left: int, seconds: int) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(limit),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(seconds),
            "RateLimit-Policy": self.policy,
        }


def terms_of(owner: str, quotas: Quotas, settings: Settings) -> Terms:
    """The quotas of a key, with the server's defaults for those it leaves open."""
    names = Quotas.__struct_fields__
    given = {name: getattr(quotas, name) for name in names}
    values = {name: getattr(settings, f"key_{name}") if value is None else value for name, value in given.items()}
    return Terms(owner=owner, **values)
