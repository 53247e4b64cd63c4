"""The device's part: runs one pass after another over whatever tasks there are. Knows nothing of Redis or HTTP.

A pass takes one window of every task it has room for, so requests that arrive together run together and newcomers join
between passes. The values do not depend on it: `VSSM.advance` promises the same bits for any cut and any company.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vssm import VSSM, Advance, ObservationError, StateError, Window
from vssm_server.errors import Problem
from vssm_server.messages import ROW_BOUNDS
from vssm_server.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """What one pass did for one task: its new values and state, or the problem that ends it."""

    task: Task
    steps: int
    outcome: Advance | Problem


@dataclass
class Counters:
    """What the engine has done since it started."""

    passes: int = 0
    rows: int = 0
    generated_steps: int = 0
    row_buckets: list[int] = field(default_factory=lambda: [0] * (len(ROW_BOUNDS) + 1))


class Engine:
    """Bounds every pass by `pass_steps` sequences x steps (memory) and `chunk_steps` steps (latency)."""

    def __init__(self, chunk_steps: int, pass_steps: int) -> None:
        self.counters = Counters()
        self._chunk_steps = chunk_steps
        self._pass_steps = pass_steps

    def run(self, tasks: Sequence[Task]) -> list[Step]:
        """One pass for each model among the unfinished `tasks`, first come first served."""
        plan = self.plan([task for task in tasks if not task.ended])
        models = {task.model.fingerprint: task.model for task, _ in plan}
        return [
            step
            for fingerprint, model in models.items()
            for step in self._pass(model, [part for part in plan if part[0].model.fingerprint == fingerprint])
        ]

    def plan(self, tasks: Sequence[Task]) -> list[tuple[Task, int]]:
        """Which tasks advance by how many steps. The first always does; a task that is `alone` shares with nobody."""
        suspects = [task for task in tasks if task.alone]
        plan: list[tuple[Task, int]] = []
        left = self._pass_steps
        for task in suspects[:1] or tasks:
            steps = task.wanted(min(self._chunk_steps, left // task.rows))
            if steps < 1 and plan:
                continue
            plan.append((task, max(1, steps)))
            left -= task.rows * max(1, steps)
        return plan

    def _pass(self, model: VSSM, plan: list[tuple[Task, int]]) -> list[Step]:
        windows = [task.window(steps) for task, steps in plan]
        self._count(sum(task.rows for task, _ in plan))
        try:
            advances = model.advance(windows)
        except Exception as error:  # whatever it was, it belongs to one of these windows
            if len(plan) == 1:
                task, steps = plan[0]
                return [Step(task, steps, _explain(error))]
            return [step for part in plan for step in self._pass(model, [part])]
        return [
            self._check(part, window, advance) for part, window, advance in zip(plan, windows, advances, strict=True)
        ]

    def _check(self, part: tuple[Task, int], window: Window, advance: Advance) -> Step:
        task, steps = part
        if window.observed is None:
            self.counters.generated_steps += task.rows * steps
        if advance.values.dtype.kind == "f" and not np.isfinite(advance.values).all():
            message = f"The model made NaN or infinity before position {advance.state.position}; nothing was saved."
            return Step(task, steps, Problem("non_finite_output", message))
        return Step(task, steps, advance)

    def _count(self, rows: int) -> None:
        self.counters.passes += 1
        self.counters.rows += rows
        self.counters.row_buckets[sum(rows > bound for bound in ROW_BOUNDS)] += 1


def _explain(error: Exception) -> Problem:
    if isinstance(error, ObservationError):
        return Problem("invalid_value", str(error), "prefix")
    if isinstance(error, StateError):
        return Problem("fingerprint_mismatch", str(error), "session_id")
    log.error("a pass failed", exc_info=error)
    return Problem("generation_failed", f"The pass failed ({type(error).__name__}); nothing was saved. Try again.")
