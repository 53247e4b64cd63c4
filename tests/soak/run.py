"""One soak: what the service holds at rest, the load for a set time under watch, rest again; then the verdict."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.soak.load import Ledger, crowd
from tests.soak.rest import rest, settle
from tests.soak.samples import PARTS, Sample, growth, watch
from tests.soak.service import Target

JUDGED = ("api", "worker")  # Redis gives back what expires; its keys are judged


@dataclass(frozen=True)
class Plan:
    """How long and how hard. Times within a run are parts of `seconds`: of 30 minutes 5 are for warming up."""

    seconds: float
    clients: int = 64
    seed: int = 0
    most_growth: float = 0.02
    settle_seconds: float = 180.0

    @property
    def warm_up(self) -> float:
        """Seconds in which caches fill: not judged."""
        return self.seconds / 6

    @property
    def window(self) -> float:
        """Seconds whose median is compared."""
        return self.seconds / 30

    @property
    def every(self) -> float:
        """Seconds between samples."""
        return self.seconds / 900


async def soak(target: Target, plan: Plan) -> tuple[dict[str, Any], list[Sample]]:
    """The report, `passed` in it, and the samples."""
    before = await asyncio.to_thread(rest, target)
    ledger, busy = Ledger(), target.metric("vssm_worker_busy_seconds_total")
    over = _after(plan.seconds)
    _, samples = await asyncio.gather(
        crowd(target, ledger, plan.clients, plan.seed, over), watch(target, plan.every, over)
    )
    busy = target.metric("vssm_worker_busy_seconds_total") - busy
    found, after, settled = await asyncio.to_thread(settle, target, before, plan.settle_seconds)
    grown = {part: growth(samples, part, plan.warm_up, plan.window) for part in PARTS}
    problems = [
        f"resident memory of the {part} grew by {100 * grown[part].grown:.1f} % after the warm-up"
        for part in JUDGED
        if grown[part].grown >= plan.most_growth
    ]
    problems += [f"left after {settled:.0f} s of rest: {text}" for text in found]
    if ledger.violations:
        problems.append(f"{len(ledger.violations)} answers that may not be")
    report = {
        "passed": not problems,
        "problems": problems,
        "plan": asdict(plan),
        "requests": ledger.requests,
        "requests_per_second": round(ledger.requests / plan.seconds, 1),
        "asked": dict(sorted(ledger.asked.items())),
        "statuses": {str(status): count for status, count in sorted(ledger.statuses.items())},
        "violations": ledger.violations[:20],
        "worker_busy": round(busy / plan.seconds, 3),
        "growth": {part: {name: round(value, 4) for name, value in asdict(grown[part]).items()} for part in PARTS},
        "settled_seconds": settled,
        "before": {"keys": len(before.keys), "files": before.files, "redis_links": before.links},
        "after": {"keys": len(after.keys), "files": after.files, "redis_links": after.links},
        "most": {"keys": max(s.keys for s in samples), "files": max(s.files for s in samples)},
    }
    return report, samples


def _after(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until
