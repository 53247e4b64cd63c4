"""Traces by OpenTelemetry: one for each request, from the API through the queue and a worker to the engine's passes.

They are wanted when OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; all OTEL_* variables of
the SDK mean what they mean elsewhere. Only then is it imported: it is the extra `tracing` of this package.
"""

import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vssm_server import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
PROTOCOL = "http/protobuf"
PARENT = "traceparent"


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an endpoint is set, and traces are not switched off."""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environment.get(name) for name in ENDPOINTS)


def obstacle(environment: Mapping[str, str] = os.environ) -> str | None:
    """Why traces that are wanted cannot be sent, and what to do; None when they can."""
    if not wanted(environment):
        return None
    if any(environment.get(name, PROTOCOL) != PROTOCOL for name in PROTOCOLS):
        return (
            f"{PROTOCOLS[0]} must be {PROTOCOL}, the one protocol this server speaks; collectors listen for it on 4318."
        )
    for module in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            what = "an OTLP endpoint is set, but OpenTelemetry is not installed"
            return f'{what}: pip install "vssm-server[tracing]", or unset {ENDPOINTS[0]}.'
    return None


class Tracing:
    """Makes spans and sends them in the background."""

    def __init__(self, part: str, instance: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        about = {"service.version": __version__, "service.instance.id": instance}
        resource = Resource.create(about)
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: f"vssm-{part}"}))
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("vssm_server", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def serve(self, method: str, path: str, headers: list[tuple[bytes, bytes]]) -> "Span":
        """The span of an HTTP request, within the trace of its caller if that sent one."""
        from opentelemetry.trace import SpanKind

        sent = {name.decode(): value.decode("latin-1") for name, value in headers if name.startswith(b"trace")}
        attributes = {"http.request.method": method, "url.path": path}
        context = self._propagator.extract(sent)
        return self._tracer.start_span(method, context, SpanKind.SERVER, attributes)

    def parent_of(self, span: "Span") -> str | None:
        """What the next process needs to make children of a span; None if the trace is not kept."""
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        if span.is_recording():
            self._propagator.inject(carrier, set_span_in_context(span))
        return carrier.get(PARENT)

    def wait(self, name: str, parent: str, began: int, ended: int) -> "Span":
        """A span that is over: from and to are nanoseconds of the epoch."""
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            name, self._propagator.extract({PARENT: parent}), SpanKind.PRODUCER, start_time=began
        )
        span.end(ended)
        return span

    def work(self, name: str, after: "Span", began: int, **attributes: str | int | float) -> "Span":
        """A span of work on a job, or on a part of it, as a child of another; it must be ended."""
        from opentelemetry.trace import SpanKind

        kind = SpanKind.CONSUMER if name == "worker" else SpanKind.INTERNAL
        return self._tracer.start_span(name, self._within(after), kind, dict(attributes), start_time=began)

    def _within(self, span: "Span") -> "Context":
        from opentelemetry.trace import set_span_in_context

        return set_span_in_context(span)

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


def fail(span: "Span", reason: str) -> None:
    """Marks what did not go well."""
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, reason))
    span.set_attribute("error.type", reason)


def start(part: str, instance: str) -> Tracing | None:
    """Traces, if they are wanted; whoever starts the process has looked for an `obstacle`."""
    return Tracing(part, instance) if wanted() else None
