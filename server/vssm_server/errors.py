"""Every error a client can meet: one exception, one table.

Problem(type)          code  meaning
  invalid_request       400  the body is not JSON, or not an object
  unauthorized          401  no API key, or one that is unknown, revoked or expired
  forbidden             403  the key lacks the scope that this needs; or, without keys, a Host that is not this machine
  not_found             404  no such path
  model_not_found       404
  session_not_found     404  never made, expired, deleted, of another key, or a malformed id
  method_not_allowed    405
  not_acceptable        406  none of the asked media types can be made
  session_conflict      409  another request is advancing the session, or changed it
  fingerprint_mismatch  409  the session was made by another checkpoint
  state_untrusted       409  the saved state was changed in Redis, or is older than the one last answered
  body_too_large        413
  url_too_long          414
  unsupported_media_type 415
  too_large_for_worker  413  not even one step of the request fits into the worker's memory
  invalid_value         422  `param` says which field
  idempotency_mismatch  422  the Idempotency-Key was used for another request
  quota_exceeded        429  of the API key; Retry-After and, for a rate, RateLimit-*
  head_too_large        431  the headers together
  queue_full            429  Retry-After: the time the queue needs at its measured pace
  generation_failed     500  the pass raised
  non_finite_output     500  the model made NaN or infinity
  internal_error        500  a bug
  no_worker             503  Retry-After
  redis_unavailable     503  Retry-After
  shutting_down         503  Retry-After
  model_failed          503  the checkpoint could not be loaded
  stream_lost           503  the API process that had asked is gone
  deadline_exceeded     504
  storage_full          507  Redis has no memory left; Retry-After
"""

import msgspec

from vssm_server import request_id

STATUS = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "model_not_found": 404,
    "session_not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "session_conflict": 409,
    "fingerprint_mismatch": 409,
    "state_untrusted": 409,
    "body_too_large": 413,
    "url_too_long": 414,
    "head_too_large": 431,
    "too_large_for_worker": 413,
    "unsupported_media_type": 415,
    "invalid_value": 422,
    "idempotency_mismatch": 422,
    "quota_exceeded": 429,
    "queue_full": 429,
    "generation_failed": 500,
    "non_finite_output": 500,
    "internal_error": 500,
    "no_worker": 503,
    "redis_unavailable": 503,
    "shutting_down": 503,
    "model_failed": 503,
    "stream_lost": 503,
    "deadline_exceeded": 504,
    "storage_full": 507,
}

REDIS_AWAY = "Redis does not answer or refused. Try again after the seconds in Retry-After."

NO_WORKER = "No worker is ready; one that starts loads its models first. Try again after the seconds in Retry-After."

STORAGE_FULL = "Redis has no memory left; nothing was saved. Sessions that expire or are deleted make room."

STATE_UNTRUSTED = (
    "The saved state is not the one that this server saved last: it was changed in Redis, or is an older one. It "
    "cannot be continued; start a new session."
)

RETRY_AFTER_SECONDS = {
    "queue_full": 1,
    "session_conflict": 1,
    "no_worker": 2,
    "redis_unavailable": 2,
    "shutting_down": 5,
    "stream_lost": 1,
    "storage_full": 10,
}


class Body(msgspec.Struct, frozen=True):
    """The inside of `{"error": ...}`."""

    type: str
    message: str
    param: str | None
    code: int


class Problem(Exception):  # noqa: N818
    """A request that cannot be answered as asked. `type` is one of the table above and stable."""

    def __init__(
        self,
        type: str,
        message: str,
        param: str | None = None,
        retry_after: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self._headers = headers or {}
        self.body = Body(type, message, param, STATUS[type])
        self.retry_after = RETRY_AFTER_SECONDS.get(type) if retry_after is None else retry_after

    def as_json(self) -> dict[str, dict[str, object]]:
        """The body of the answer, also of an error within a stream."""
        return {"error": {**msgspec.to_builtins(self.body), "request_id": request_id.current()}}

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` where waiting helps, `WWW-Authenticate` where a key does, and what came with the problem."""
        headers = self._headers | ({"WWW-Authenticate": 'Bearer realm="vssm"'} if self.body.code == 401 else {})
        return headers if self.retry_after is None else {**headers, "Retry-After": str(self.retry_after)}


def invalid(param: str, message: str) -> Problem:
    """A 422 about one field."""
    return Problem("invalid_value", message, param)
