"""What can go wrong: one class for each `error.type` of the server, one for each way a connection can fail.

ClientError
+-- TransportError                  no whole answer came
|   +-- ConnectionFailedError       the server was not reached: refused, no such host, TLS
|   +-- ConnectionBrokenError       the connection broke before the end of the answer, or of a stream
|   +-- TimedOutError               there was no answer in time
+-- AnswerError                     an answer that no VSSM server gives
+-- ServerError                     an error of the server: type, message, param, status, retry_after
    +-- InvalidError                400, 405, 406, 413, 414, 415, 422, 431: the request must be changed
    |   +-- InvalidRequestError, MethodNotAllowedError, NotAcceptableError, BodyTooLargeError, TooLargeForWorkerError,
    |       UnsupportedMediaTypeError, InvalidValueError, IdempotencyMismatchError,
    |       UrlTooLongError, HeadTooLargeError
    +-- KeyRefusedError             401, 403
    |   +-- UnauthorizedError, ForbiddenError
    +-- NotFoundError               404
    |   +-- PathNotFoundError, ModelNotFoundError, SessionNotFoundError
    +-- ConflictError               409
    |   +-- SessionConflictError, FingerprintMismatchError, StateUntrustedError
    +-- FailedError                 500
    |   +-- GenerationFailedError, NonFiniteOutputError, InternalServerError
    +-- UnavailableError            429, 503, 504, 507: the same request may succeed later
        +-- QuotaExceededError, QueueFullError, NoWorkerError, RedisUnavailableError, ShuttingDownError,
            ModelFailedError, StreamLostError, DeadlineExceededError, StorageFullError
"""

from typing import ClassVar


class ClientError(Exception):
    """Anything this package raises by itself, but for wrong arguments (ValueError, TypeError).

    `passing` says whether the same request, sent again with its key, may well succeed; the clients then do that.
    """

    passing: ClassVar[bool] = False


class TransportError(ClientError):
    """No whole answer came."""


class ConnectionFailedError(TransportError):
    """The server was not reached: connection refused, no such host, no TLS."""

    passing = True


class ConnectionBrokenError(TransportError):
    """The connection broke before the answer, or the stream, was whole."""

    passing = True


class TimedOutError(TransportError):
    """There was no answer within `timeout`. The request may run on; a saved session tells by its position."""


class AnswerError(ClientError):
    """What answers at that address is no VSSM server, or one of another version."""


class ServerError(ClientError):
    """An error reply. `type` is stable, `message` is for people, `param` the field it is about.

    `status` is that of HTTP, `retry_after` the seconds that the server asks to wait, `request_id` what its log calls
    the request.
    """

    def __init__(
        self,
        status: int,
        type: str,
        message: str,
        param: str | None,
        retry_after: float | None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{message} ({type}, HTTP {status})")
        self.status, self.type, self.message, self.param, self.retry_after = status, type, message, param, retry_after
        self.request_id = request_id


class InvalidError(ServerError):
    """The request must be changed."""


class InvalidRequestError(InvalidError):
    """The body is no JSON object."""


class MethodNotAllowedError(InvalidError):
    """Not with this HTTP method."""


class UrlTooLongError(InvalidError):
    """The URL is longer than the server takes."""


class HeadTooLargeError(InvalidError):
    """The headers together are larger than the server takes."""


class NotAcceptableError(InvalidError):
    """The result cannot be had in that form, as a picture of a model of text."""


class BodyTooLargeError(InvalidError):
    """The request has more bytes than the server allows."""


class TooLargeForWorkerError(InvalidError):
    """Not even one step of the request fits into the memory of a worker."""


class UnsupportedMediaTypeError(InvalidError):
    """The body is not application/json."""


class InvalidValueError(InvalidError):
    """A field has a value that is not allowed; `param` names it."""


class IdempotencyMismatchError(InvalidError):
    """The idempotency_key was used for another request."""


class KeyRefusedError(ServerError):
    """The API key does not do."""


class UnauthorizedError(KeyRefusedError):
    """No API key was sent, or it is not known, was revoked or has expired."""


class ForbiddenError(KeyRefusedError):
    """The API key lacks the scope for this."""


class NotFoundError(ServerError):
    """No such model, session or path."""


class PathNotFoundError(NotFoundError):
    """There is nothing at that path of the server."""


class ModelNotFoundError(NotFoundError):
    """The server has no model of that name."""


class SessionNotFoundError(NotFoundError):
    """The session was never made, has expired or was deleted."""


class ConflictError(ServerError):
    """The session does not go with the request."""


class SessionConflictError(ConflictError):
    """Another request advances the session, or the session has another model, seed or num_samples."""


class FingerprintMismatchError(ConflictError):
    """The session was made by another checkpoint."""


class StateUntrustedError(ConflictError):
    """The saved state is not the one that the server saved last: changed from outside, or older."""


class FailedError(ServerError):
    """Generation failed, or the server has a bug."""


class GenerationFailedError(FailedError):
    """The pass through the model failed."""


class NonFiniteOutputError(FailedError):
    """The model made NaN or infinity."""


class InternalServerError(FailedError):
    """A bug in the server; its log has the details."""


class UnavailableError(ServerError):
    """The same request may succeed later, after `retry_after` seconds if the server named them."""

    passing = True


class QuotaExceededError(UnavailableError):
    """A quota of the API key is used up; `retry_after` says for how long."""


class QueueFullError(UnavailableError):
    """More requests are waiting than the server holds."""


class NoWorkerError(UnavailableError):
    """No worker lives."""


class RedisUnavailableError(UnavailableError):
    """The server's Redis does not answer."""


class ShuttingDownError(UnavailableError):
    """The server is about to end."""


class ModelFailedError(UnavailableError):
    """The checkpoint of the model could not be loaded. Somebody has to mend it."""

    passing = False


class StreamLostError(UnavailableError):
    """The API process that had asked for the stream is gone."""


class DeadlineExceededError(UnavailableError):
    """The server's deadline passed; nothing was saved."""

    passing = False


class StorageFullError(UnavailableError):
    """The server's Redis has no memory left; nothing was saved."""


BY_TYPE: dict[str, type[ServerError]] = {
    "invalid_request": InvalidRequestError,
    "unauthorized": UnauthorizedError,
    "forbidden": ForbiddenError,
    "not_found": PathNotFoundError,
    "model_not_found": ModelNotFoundError,
    "session_not_found": SessionNotFoundError,
    "method_not_allowed": MethodNotAllowedError,
    "not_acceptable": NotAcceptableError,
    "session_conflict": SessionConflictError,
    "fingerprint_mismatch": FingerprintMismatchError,
    "state_untrusted": StateUntrustedError,
    "body_too_large": BodyTooLargeError,
    "url_too_long": UrlTooLongError,
    "head_too_large": HeadTooLargeError,
    "too_large_for_worker": TooLargeForWorkerError,
    "unsupported_media_type": UnsupportedMediaTypeError,
    "invalid_value": InvalidValueError,
    "idempotency_mismatch": IdempotencyMismatchError,
    "quota_exceeded": QuotaExceededError,
    "queue_full": QueueFullError,
    "generation_failed": GenerationFailedError,
    "non_finite_output": NonFiniteOutputError,
    "internal_error": InternalServerError,
    "no_worker": NoWorkerError,
    "redis_unavailable": RedisUnavailableError,
    "shutting_down": ShuttingDownError,
    "model_failed": ModelFailedError,
    "stream_lost": StreamLostError,
    "deadline_exceeded": DeadlineExceededError,
    "storage_full": StorageFullError,
}

BY_STATUS: dict[int, type[ServerError]] = {
    **dict.fromkeys((400, 405, 406, 413, 414, 415, 422, 431), InvalidError),
    **dict.fromkeys((401, 403), KeyRefusedError),
    404: NotFoundError,
    409: ConflictError,
    500: FailedError,
    **dict.fromkeys((429, 502, 503, 504, 507), UnavailableError),
}
"""For types that this version does not know, and for what a gateway answers by itself."""
