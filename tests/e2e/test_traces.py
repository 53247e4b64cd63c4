"""One trace for each request, from the API through the queue and a worker to the engine's passes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.collector import Collector, Span
from tests.e2e.serving import Serve, until
from tests.server.models import build
from vssm import save

CALLER = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector().listening() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server that sends its spans at once."""
    folder = tmp_path_factory.mktemp("traced")
    save(build("pixels"), folder / "pixels")
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        server = Serve(folder, models=folder / "pixels", chunk_steps=16).start()
        yield server
        assert server.stop() == 0


def trace(collector: Collector, request_id: str, spans: int) -> list[Span]:
    """The trace of a request when it has so many spans."""

    def whole() -> list[Span] | None:
        [of] = {span.trace for span in collector.spans if span.attributes.get("request_id") == request_id} or {""}
        found = collector.trace(of)
        return found if len(found) >= spans else None

    found = until(whole, 10)
    assert len(found) == spans
    return found


def test_one_trace_from_api_to_pass(collector: Collector, traced: Serve) -> None:
    body = {"model": "pixels", "num_samples": 2, "length": 40}
    traced.client.post("/generate", json=body, headers={"X-Request-ID": "whole"}).raise_for_status()
    api, queue, worker, *passes = trace(collector, "whole", 6)
    assert [span.name for span in (api, queue, worker)] == ["POST /generate", "queue", "worker"]
    assert [api.service, queue.service, worker.service] == ["vssm-api", "vssm-worker", "vssm-worker"]
    assert (api.parent, queue.parent, worker.parent) == ("", api.id, queue.id)
    assert {(span.name, span.parent) for span in passes} == {("pass", worker.id)}
    assert [span.attributes["steps"] for span in passes] == [16, 16, 8]
    assert {span.attributes["batch_rows"] for span in passes} == {2}
    assert (api.attributes["http.response.status_code"], api.attributes["model"]) == (200, "pixels")
    assert api.began <= worker.began  # it ends at any time after its reply
    for one in passes:
        assert worker.began <= one.began <= one.ended <= worker.ended
    assert not any(span.failed for span in (api, queue, worker, *passes))


def test_the_callers_trace_goes_on(collector: Collector, traced: Serve) -> None:
    body = {"model": "pixels", "length": 16, "stream": True}
    traced.client.post("/generate", json=body, headers={"X-Request-ID": "called", **CALLER})
    api = trace(collector, "called", 3 + 8)[0]
    assert (api.trace, api.parent) == (CALLER["traceparent"][3:35], CALLER["traceparent"][36:52])


def test_a_caller_that_keeps_no_trace_is_followed(collector: Collector, traced: Serve) -> None:
    unsampled = {"traceparent": CALLER["traceparent"][:-1] + "0", "X-Request-ID": "unsampled"}
    traced.client.post("/generate", json={"model": "pixels", "length": 1}, headers=unsampled)
    traced.client.post("/generate", json={"model": "pixels", "length": 1}, headers={"X-Request-ID": "after"})
    trace(collector, "after", 4)
    assert "unsampled" not in {span.attributes.get("request_id") for span in collector.spans}


def test_errors_and_quiet_paths(collector: Collector, traced: Serve) -> None:
    traced.client.get("/readyz")
    traced.client.get("/sessions/none", headers={"X-Request-ID": "missing"})
    [api] = trace(collector, "missing", 1)
    assert (api.name, api.attributes["http.response.status_code"]) == ("GET /sessions/{session_id}", 404)
    assert not {"/readyz", "/metrics"} & {span.attributes.get("url.path") for span in collector.spans}


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "PYTHONPATH": "{hidden}"}, 'pip install "vssm-server[tracing]"'),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "must be http/protobuf"),
    ],
)
def test_what_cannot_be_traced_is_explained(variables: dict[str, str], says: str, tmp_path: Path) -> None:
    """Without the extra: a package of its name that has no SDK stands before it."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    given = {name: value.format(hidden=path) for name, value in variables.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VSSM_")}
    command = [sys.executable, "-m", "vssm_server", "api", "--redis-url", "redis://nowhere"]
    result = subprocess.run(command, env=clean | given, capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr
