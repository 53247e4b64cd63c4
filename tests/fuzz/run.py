"""The parts of a run: a server, what is thrown at it, and whether it is still as it was afterwards."""

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.e2e.serving import until
from tests.fuzz import operations, sockets, talks
from tests.fuzz.apart import fuzz_apart
from tests.fuzz.service import DEADLINE_SECONDS, GRACE_SECONDS, GROWTH, Service

PARTS = ("operations", "decoders", "sockets")
MIB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    cases: int = 20_000
    inputs: int = 1_000_000
    connections: int = 200  # of each family
    minutes: float = 60.0  # for the cases
    seed: int = 0
    parts: tuple[str, ...] = PARTS
    bounds: bool = True
    examples: int = 40
    failures: Path = Path("fuzz-failures")


def run(plan: Plan) -> dict[str, Any]:
    """Every part by its name, with what it has done and its failures."""
    parts: dict[str, Callable[[Plan], dict[str, Any]]] = {
        "operations": lambda plan: with_server(fuzz_operations, plan, {}),
        "decoders": fuzz_decoders,
        "sockets": lambda plan: with_server(fuzz_sockets, plan, sockets.BOUNDS),
    }
    return {name: {"seed": plan.seed, **work(plan)} for name, work in parts.items() if name in plan.parts}


def with_server(
    work: Callable[[Plan, Service], dict[str, Any]], plan: Plan, settings: dict[str, object]
) -> dict[str, Any]:
    """A part with a server of its own, warm."""
    with tempfile.TemporaryDirectory(prefix="vssm-fuzz-") as folder, Service(Path(folder), settings) as service:
        service.warm_up()
        return work(plan, service)


def fuzz_operations(plan: Plan, service: Service) -> dict[str, Any]:
    """Requests that the server's own description allows, and that it does not."""
    before = service.memory()
    outcome = operations.fuzz(
        f"{service.url}/openapi.json",
        service.headers,
        plan.cases,
        plan.seed,
        plan.minutes,
        DEADLINE_SECONDS + GRACE_SECONDS,
        bounds=plan.bounds,
        examples=plan.examples,
    )
    found = service.complaints()
    after = service.settled_memory(before)
    found += [f"{failure.count} x {failure.operation}, {failure.message}" for failure in outcome.failures.values()]
    if outcome.cases < plan.cases:
        found.append(f"only {outcome.cases} of {plan.cases} cases were sent in {plan.minutes:g} minutes")
    for number, failure in enumerate(outcome.failures.values()):
        plan.failures.mkdir(parents=True, exist_ok=True)
        text = f"{failure.check}, {failure.operation}, seed {plan.seed}\n\n{failure.message}\n\n{failure.again}\n"
        (plan.failures / f"operation-{number}.txt").write_text(text)
    return {
        "cases": outcome.cases,
        "seconds": round(outcome.seconds),
        "by_operation": dict(sorted(outcome.operations.items())),
        "by_phase": dict(outcome.phases),
        "statuses": dict(sorted(outcome.statuses.items())),
        "memory_mib": [before // MIB, after // MIB],
        "failures": found + grown(before, after),
    }


def fuzz_decoders(plan: Plan) -> dict[str, Any]:
    """Bytes that are nearly right, for everything that decodes any."""
    began = time.monotonic()
    outcomes = fuzz_apart(plan.inputs, plan.seed, plan.failures)
    targets = {}
    for outcome in outcomes:
        fields = asdict(outcome)
        name, failures = fields.pop("name"), fields.pop("failures")
        memory = [fields.pop("memory_before") // MIB, fields.pop("memory_after") // MIB]
        rounded = {"seconds": round(outcome.seconds, 1), "slowest_ms": round(outcome.slowest_ms, 1)}
        targets[name] = {**fields, **rounded, "memory_mib": memory, "kinds_of_failure": len(failures)}
    return {
        "inputs": sum(outcome.inputs for outcome in outcomes),
        "seconds": round(time.monotonic() - began),
        "by_target": targets,
        "failures": [failure for outcome in outcomes for failure in outcome.failures],
    }


def fuzz_sockets(plan: Plan, service: Service) -> dict[str, Any]:
    """Connections that do not speak HTTP, or not for long."""
    began, before = time.monotonic(), service.memory()
    reports: dict[str, Any] = {}
    found: list[str] = []
    for name, make in talks.families(service.key).items():
        outcome = asyncio.run(sockets.abuse(service.port, make, plan.connections, plan.seed))
        until(lambda: service.serve.metric("vssm_requests_active") == 0, 30)
        found += [f"{name}: {text}" for text in [*outcome.failures, *service.complaints()]]
        statuses, slowest = dict(sorted(outcome.statuses.items())), round(outcome.slowest_seconds, 2)
        reports[name] = {"connections": outcome.connections, "statuses": statuses, "slowest_seconds": slowest}
    after = service.settled_memory(before)
    return {
        "seconds": round(time.monotonic() - began),
        "by_family": reports,
        "memory_mib": [before // MIB, after // MIB],
        "failures": found + grown(before, after),
    }


def grown(before: int, after: int) -> list[str]:
    """Whether API and worker kept more memory than they may."""
    if after <= before * (1 + GROWTH):
        return []
    return [f"API and worker had {before // MIB} MiB after the warm-up and have {after // MIB} MiB"]
