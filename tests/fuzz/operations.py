"""Every operation of the API, as its own openapi.json describes it: examples, bounds, valid and invalid data, and
sequences of operations along its links. Generated, sent and checked by schemathesis.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.engine import events, from_schema
from vssm_server.errors import STATUS

OF_ALL = {405, 414, 431}  # that any operation may answer
SERVER_ERRORS = (503, 504)  # that are no mistake of the server
ALLOWED = ["2xx", "3xx", "4xx", *map(str, SERVER_ERRORS)]
KEPT_FAILURES = 50


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Most generations are saved, so that there are sessions to look at, resume, fork and delete."""
    generates = context.operation is not None and context.operation.path == "/generate"
    return {"save": True, **body} if generates and isinstance(body, dict) else body


@schemathesis.check
def documented_answer(ctx: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """The status is one that the operation names, and an error has the one body, with a type of the table."""
    named = {int(status) for status in case.operation.definition.raw["responses"] if status.isdigit()}
    status = response.status_code
    assert status in named | OF_ALL, f"the status {status} is not documented for {case.operation.label}"
    if status >= 400 and case.method.upper() != "HEAD":
        assert _is_of_table(response, case.operation.path), f"not the body of an error {status}: {response.text[:200]}"
    return None


def _is_of_table(response: Response, path: str) -> bool:
    """Whether an answer's type of error is one that has this status."""
    openai = path.startswith("/v1/")
    try:
        error = response.json()["error"]
        code = STATUS[error["code" if openai else "type"]]
    except (ValueError, KeyError, TypeError):
        return False
    return response.status_code == (400 if openai and code == 422 else code)


@dataclass
class Failure:
    """What a check found, and how to see it again."""

    check: str
    operation: str
    message: str
    again: str
    count: int = 1


@dataclass
class Outcome:
    """Of a run."""

    operations: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, ...], Failure] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """Requests that were sent."""
        return self.operations.total()

    def add(self, event: events.ScenarioFinished) -> None:
        """Counts what a scenario has sent and what its checks said."""
        recorded = event.recorder
        for case_id, exchange in recorded.interactions.items():
            self.operations[recorded.cases[case_id].value.operation.label] += 1
            self.statuses[str(exchange.response.status_code) if exchange.response else "none"] += 1
            self.phases[event.phase.value] += 1
        for case_id, checks in recorded.checks.items():
            for check in checks:
                if (found := check.failure_info) is not None:
                    operation = recorded.cases[case_id].value.operation.label
                    message = f"{found.failure.title}: {found.failure.message}"
                    self.fail((check.name, operation, found.failure.title), message, found.code_sample)

    def fail(self, kind: tuple[str, str, str], message: str, again: str) -> None:
        """The same kind is kept once."""
        known = self.failures.get(kind)
        if known is not None:
            known.count += 1
        elif len(self.failures) < KEPT_FAILURES:
            self.failures[kind] = Failure(kind[0], kind[1], message, again)


def fuzz(
    schema_url: str,
    headers: Mapping[str, str],
    cases: int,
    seed: int,
    minutes: float,
    most_seconds: float,
    *,
    bounds: bool = True,
    examples: int = 40,
) -> Outcome:
    """At least so many cases, unless the minutes end before. An answer may take `most_seconds`.

    `bounds` are the values at and beyond every bound, about 600 cases, once; `examples` the cases of each operation
    before the next one's turn.
    """
    config = schemathesis.Config.from_dict(
        {
            "seed": seed,
            "max-time": math.ceil(minutes * 60),
            "request-timeout": 2 * most_seconds,
            "continue-on-failure": True,
            "headers": dict(headers),
            "output": {"sanitization": {"enabled": False}},  # its key ends with the server
            "suppress-health-check": ["all"],
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "phases": {"examples": {"enabled": bounds}, "coverage": {"enabled": bounds}},
            "checks": _checks(most_seconds),
        }
    )
    schema = schemathesis.openapi.from_url(schema_url, config=config)
    outcome, began = Outcome(), time.monotonic()
    stream = from_schema(schema).execute()
    for event in stream:
        if isinstance(event, events.ScenarioFinished):
            outcome.add(event)
            if outcome.cases >= cases:
                stream.stop()
        elif isinstance(event, events.NonFatalError):
            outcome.fail(("error", event.label, event.info.title), event.info.format(), event.label)
        elif isinstance(event, events.FatalError):
            raise event.exception
    outcome.seconds = time.monotonic() - began
    return outcome


def _checks(most_seconds: float) -> dict[str, Any]:
    """All that there are, but that valid data be accepted: whether a model takes it is not in the schema."""
    return {
        "positive_data_acceptance": {"enabled": False},
        "not_a_server_error": {"expected-statuses": ALLOWED},
        "max_response_time": most_seconds,
    }
