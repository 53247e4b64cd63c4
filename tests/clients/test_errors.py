"""Every error of the server has its class, and is raised."""

from collections.abc import Callable

import httpx
import pytest
from vssm_client import Client, errors
from vssm_client.replies import error_of
from vssm_server.errors import STATUS


def test_every_type_of_the_server_has_its_class() -> None:
    assert set(errors.BY_TYPE) == set(STATUS)
    assert len(set(errors.BY_TYPE.values())) == len(STATUS)
    for type, status in STATUS.items():
        assert issubclass(errors.BY_TYPE[type], errors.BY_STATUS[status]), type


def test_fields_and_unknown_errors() -> None:
    body = b'{"error": {"type": "queue_full", "message": "m", "param": "p", "code": 429, "request_id": "r"}}'
    error = error_of(429, body, "3")
    assert type(error) is errors.QueueFullError
    assert (error.status, error.type, error.message, error.param, error.retry_after) == (429, "queue_full", "m", "p", 3)
    assert error.request_id == "r"
    newer = error_of(409, body.replace(b"queue_full", b"newer").replace(b"429", b"409"))
    assert (type(newer), newer.type) == (errors.ConflictError, "newer")
    assert type(error_of(418, b"")) is errors.ServerError
    assert error_of(502, b"<html>").type == "unknown"


@pytest.mark.parametrize(
    ("options", "kind", "param"),
    [
        ({"model": "pixels", "num_samples": 0}, errors.InvalidValueError, "num_samples"),
        ({"model": "minst"}, errors.ModelNotFoundError, None),
        ({"session_id": "sess_" + "0" * 32}, errors.SessionNotFoundError, None),
        ({"model": "truncated"}, errors.ModelFailedError, None),
        ({"model": "exploding"}, errors.NonFiniteOutputError, None),
    ],
)
def test_real_errors(
    url: str, options: dict[str, str | int], kind: type[errors.ServerError], param: str | None
) -> None:
    with Client(url) as client:
        asks: list[Callable[[], object]] = [
            lambda: client.generate(**options),  # type: ignore[arg-type]
            lambda: client.array(**options),  # type: ignore[arg-type]
            lambda: next(client.stream(**options)),  # type: ignore[arg-type]
        ]
        for ask in asks:
            with pytest.raises(kind) as caught:
                ask()
            assert errors.BY_TYPE[caught.value.type] is kind
            assert param in (None, caught.value.param)


def test_pictures_of_what_has_none(url: str) -> None:
    with Client(url) as client:
        with pytest.raises(errors.NotAcceptableError, match="makes no images"):
            client.png(model="text", length=3)
        session = client.session(model="pixels")
        session.resume(length=1, idempotency_key="errors-1")
        with pytest.raises(errors.IdempotencyMismatchError):
            client.generate(model="pixels", length=2, idempotency_key="errors-1")


def test_what_is_no_server_of_ours(url: str) -> None:
    with Client(url + "/livez") as client, pytest.raises(errors.PathNotFoundError):
        client.models()
    for answer in (httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])):
        transport = httpx.MockTransport(lambda _, answer=answer: answer)
        with Client(transport=transport) as client:
            for ask in (client.models, client.generate, client.array, client.png):
                with pytest.raises(errors.AnswerError, match="not an answer of a VSSM server"):
                    ask()
