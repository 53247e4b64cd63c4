"""A short run of each part, and for each of them planted defects that it must find."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from tests.e2e.serving import until
from tests.fuzz import apart, decoders, operations, sockets, talks
from tests.fuzz.apart import fuzz_apart
from tests.fuzz.decoders import fuzz
from tests.fuzz.planted import deadly, sleeping, target
from tests.fuzz.run import Plan, fuzz_operations
from tests.fuzz.service import Service

INPUTS = 10_000
CASES = 300


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server for all tests here."""
    with Service(tmp_path_factory.mktemp("fuzz"), sockets.BOUNDS, ("image", "text", "truncated")) as running:
        running.warm_up(5)
        yield running


def test_operations(service: Service, tmp_path: Path) -> None:
    plan = Plan(cases=CASES, minutes=2, seed=3, bounds=False, examples=8, failures=tmp_path)
    report = fuzz_operations(plan, service)
    assert report["failures"] == []
    assert report["cases"] >= CASES
    assert len(report["by_operation"]) == 13
    assert {"200", "404", "422"} <= set(report["statuses"])
    assert {"fuzzing", "stateful"} <= set(report["by_phase"])


def test_decoders(tmp_path: Path) -> None:
    outcomes = fuzz_apart(INPUTS, 5, tmp_path)
    assert [failure for outcome in outcomes for failure in outcome.failures] == []
    assert sum(outcome.inputs for outcome in outcomes) == pytest.approx(INPUTS, rel=0.01)
    assert {outcome.name for outcome in outcomes if not outcome.accepted} == {"forged"}


async def test_sockets(service: Service) -> None:
    families = talks.families(service.key)
    outcomes = await asyncio.gather(*(sockets.abuse(service.port, make, 16, 7) for make in families.values()))
    assert [failure for outcome in outcomes for failure in outcome.failures] == []
    assert sum(outcome.connections for outcome in outcomes) == 16 * len(families)
    until(lambda: service.serve.metric("vssm_requests_active") == 0)
    assert service.complaints() == []


class Numbers(BaseModel):
    """What the planted API adds."""

    a: int
    b: int = 0


class Sum(BaseModel):
    """What it answers."""

    sum: int


@pytest.fixture(scope="module")
def planted() -> Iterator[str]:
    """An API with three defects."""
    app = FastAPI()

    @app.post("/add")
    def add(numbers: Numbers) -> Sum:
        if numbers.a > 20:
            raise ZeroDivisionError
        return Sum(sum=numbers.a + numbers.b)

    @app.get("/undocumented")
    def undocumented() -> Response:
        return Response(status_code=418)

    @app.get("/wrong", response_model=Sum)
    def wrong() -> Response:
        return Response(b'{"sum": "many"}', media_type="application/json")

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_control_of_operations(planted: str) -> None:
    outcome = operations.fuzz(f"{planted}/openapi.json", {}, 60, 1, 1, 5, examples=15)
    found = {(failure.check, failure.operation) for failure in outcome.failures.values()}
    assert ("not_a_server_error", "POST /add") in found
    assert ("documented_answer", "GET /undocumented") in found
    assert ("response_schema_conformance", "GET /wrong") in found


def test_control_of_processes(service: Service) -> None:
    assert service.complaints() == []
    service.serve.child("api").kill()
    until(lambda: "api" in service.pids_now() and service.serve.ready())
    assert any(complaint.startswith("api is process ") for complaint in service.complaints())
    service.pids = service.pids_now()


def test_control_of_decoders(tmp_path: Path) -> None:
    def decode(data: bytes) -> None:
        if data[:1] == b"{":
            raise ValueError("refused in its own words")
        if b"\xff" in data:
            raise KeyError("planted")

    outcome = fuzz(target(decode), 3000, 1, tmp_path)
    [failure] = outcome.failures
    assert "KeyError" in failure
    [kept] = tmp_path.glob("planted-*.bin")
    with pytest.raises(KeyError):
        decode(kept.read_bytes())
    assert "seed 1, input" in kept.with_suffix(".txt").read_text()
    assert outcome.inputs == 3000
    assert 0 < outcome.failed < outcome.accepted < outcome.inputs


def test_control_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "MOST_SECONDS", 0.1)

    hung: list[bytes] = []

    def decode(data: bytes) -> None:
        if b"\xff" in data:
            hung.append(data)
        while len(hung) == 1:
            pass

    outcome = fuzz(target(decode), 300, 1, tmp_path)
    [failure] = outcome.failures
    assert "TooSlow" in failure
    assert outcome.slowest_ms > 50


def test_control_of_memory(tmp_path: Path) -> None:
    kept = []
    outcome = fuzz(target(lambda data: kept.append(data * 2000)), 600, 1, tmp_path)
    assert any("resident memory" in failure for failure in outcome.failures)


def test_control_of_death(tmp_path: Path) -> None:
    [outcome] = fuzz_apart(1000, 1, tmp_path, deadly)
    assert f"ended with -{signal.SIGSEGV}" in outcome.failures[0]
    [kept] = tmp_path.glob("deadly-*.bin")
    assert b"\xff" in kept.read_bytes()


def test_control_of_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "HUNG_SECONDS", 0.3)
    [outcome] = fuzz_apart(1000, 1, tmp_path, sleeping)
    assert "the process hung" in outcome.failures[0]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", "a server error"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 3, "3 answers"),
        (b"HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno", "without the body of errors"),
    ],
)
async def test_control_of_sockets(answer: bytes, found: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await sockets.abuse(port, talks.families("key")["two_lengths"], 8, 1)
    assert any(found in failure for failure in outcome.failures)
