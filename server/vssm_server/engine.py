"""The device's part: runs one pass after another over whatever tasks there are. Knows nothing of Redis or HTTP.

A pass takes one window of every task it has room for, so requests that arrive together run together and newcomers join
between passes. The values do not depend on it: `VSSM.advance` promises the same bits for any cut and any company.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vssm import VSSM, Advance, ObservationError, StateError, Window
from vssm_server import counters
from vssm_server.errors import Problem
from vssm_server.tally import Tally
from vssm_server.task import Task

TOO_LARGE = "too_large_for_worker"
GROW_AFTER_PASSES = 100  # good ones, after memory was short

log = logging.getLogger(__name__)
Part = tuple[Task, int]  # and how many steps it advances


@dataclass(frozen=True)
class Step:
    """What one pass did for one task: its new values and state, or the problem that ends it."""

    task: Task
    steps: int
    outcome: Advance | Problem
    batch_rows: int  # sequences in the pass, of all its tasks
    began: int  # nanoseconds of the epoch
    ended: int


class Engine:
    """Bounds every pass by `pass_steps` sequences x steps (memory) and `chunk_steps` steps (latency).

    When memory is short nevertheless, the pass is halved until it fits, and passes stay smaller for a while.
    """

    def __init__(self, chunk_steps: int, pass_steps: int) -> None:
        self.tally = Tally()
        self._chunk_steps = chunk_steps
        self._pass_steps = self.limit = pass_steps
        self._good_passes = 0
        self._turn = 0

    def run(self, tasks: Sequence[Task]) -> list[Step]:
        """One pass for each model among the unfinished `tasks`, first come first served."""
        plan = self.plan([task for task in tasks if not task.ended])
        models = {task.model.fingerprint: task.model for task, _ in plan}
        return [
            step
            for fingerprint, model in models.items()
            for step in self._pass(model, [part for part in plan if part[0].model.fingerprint == fingerprint])
        ]

    def plan(self, tasks: Sequence[Task]) -> list[Part]:
        """Which tasks advance by how many steps. Owners share evenly; a task that is `alone` shares with nobody."""
        suspects = [task for task in tasks if task.alone]
        if suspects:
            return self._shared(suspects[:1], self.limit)
        lines: dict[str, list[Task]] = {}
        for task in tasks:
            lines.setdefault(task.job.request.owner, []).append(task)
        self._turn += 1
        order = sorted(lines)
        plan: list[Part] = []
        for place in range(len(order)):  # who is first, and so gets something however large, takes turns
            line = lines[order[(place + self._turn) % len(order)]]
            left = self.limit - sum(task.rows * steps for task, steps in plan)
            plan += self._shared(line, left // (len(order) - place), least=not plan)
        return plan

    def _shared(self, tasks: Sequence[Task], left: int, least: bool = True) -> list[Part]:
        """First come first served within `left` sequences x steps; with `least`, the first task always advances."""
        plan: list[Part] = []
        for task in tasks:
            steps = task.wanted(left // task.rows if task.whole else min(self._chunk_steps, left // task.rows))
            if steps < 1 and (plan or not least):
                continue
            steps = steps or task.least
            plan.append((task, steps))
            left -= task.rows * steps
        return plan

    def _pass(self, model: VSSM, plan: list[Part]) -> list[Step]:
        windows = [task.window(steps) for task, steps in plan]
        rows, began = sum(task.rows for task, _ in plan), time.time_ns()
        try:
            advances = model.advance(windows)
        except Exception as error:  # whatever it was, it belongs to one of these windows
            problem = _explain(error, plan)
        else:
            self._count(plan, rows)
            outcomes = [self._check(*parts) for parts in zip(plan, windows, advances, strict=True)]
            ended = time.time_ns()
            return [Step(*part, outcome, rows, began, ended) for part, outcome in zip(plan, outcomes, strict=True)]
        # outside of the handler: the failed pass has let go of its memory here
        smaller = self._smaller(plan, problem)
        if not smaller:
            return [Step(*part, problem, rows, began, time.time_ns()) for part in plan]
        return [step for part in smaller for step in self._pass(model, part)]

    def _smaller(self, plan: list[Part], problem: Problem) -> list[list[Part]]:
        """What to try after a failed pass, if anything: halves when memory was short, else each task by itself."""
        if problem.body.type != TOO_LARGE:
            return [[part] for part in plan] if len(plan) > 1 else []
        torch.cuda.empty_cache()
        self.limit = max(1, sum(task.rows * steps for task, steps in plan) // 2)
        self._good_passes = 0
        log.warning("a pass did not fit into memory; passes are limited to %d steps for now", self.limit)
        if len(plan) > 1:
            return [plan[: len(plan) // 2], plan[len(plan) // 2 :]]
        task, steps = plan[0]
        return [[(task, steps // 2)]] if steps > task.least else []

    def _check(self, part: Part, window: Window, advance: Advance) -> Advance | Problem:
        task, steps = part
        if window.observed is None:
            self.tally.add(counters.STEPS.of(task.job.request.model), task.rows * steps)
        if not advance.finite:
            message = f"The model made NaN or infinity before position {advance.state.position}; nothing was saved."
            return Problem("non_finite_output", message)
        return advance

    def _count(self, plan: list[Part], rows: int) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("pass %s", [[task.rows, steps] for task, steps in plan])
        self._good_passes += 1
        if self._good_passes % GROW_AFTER_PASSES == 0:
            self.limit = min(self._pass_steps, 2 * self.limit)
        self.tally.add_all(counters.BATCH_ROWS.of(rows, plan[0][0].job.request.model))


def _explain(error: Exception, plan: list[Part]) -> Problem:
    if isinstance(error, ObservationError):
        return Problem("invalid_value", str(error), "prefix")
    if isinstance(error, StateError):
        return Problem("fingerprint_mismatch", str(error), "session_id")
    if _out_of_memory(error):
        return Problem(TOO_LARGE, "The request does not fit into the worker's memory. Ask for fewer num_samples.")
    names = [task.job.request.request_id or task.job.request.id for task, _ in plan]
    log.error("a pass failed, of the requests %s", ", ".join(names), exc_info=error)
    return Problem("generation_failed", f"The pass failed ({type(error).__name__}); nothing was saved. Try again.")


def _out_of_memory(error: Exception) -> bool:
    """Of the device or the host; torch tells the latter only in words."""
    short = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return short or "can't allocate memory" in str(error) or "bad_alloc" in str(error)
