"""Runs tasks in a process whose address space is limited to what it has now and a margin; prints a report as JSON.

Arguments: margin in bytes, rows and steps of each task, how many tasks.
"""

import json
import logging
import resource
import sys

import numpy as np
import psutil
import torch
from vssm_server.engine import Engine
from vssm_server.errors import Problem
from vssm_server.messages import Done

from tests.server.models import build
from tests.server.test_engine import task
from vssm import VSSM

PASS_STEPS = 2**24


class Warnings(logging.Handler):
    """Counts the passes that did not fit."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        self.count += "did not fit" in record.getMessage()


def fits(model: VSSM, seed: int, rows: int, steps: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """The same values, made in pieces so small that they fit."""
    state, parts = model.start(rows, seed), []
    for first in range(0, steps, 8):
        done = model.generate(state=state, length=min(8, steps - first))
        state = done.state
        parts.append(done.values)
    return np.concatenate(parts, axis=1)


def main(margin: int, rows: int, steps: int, company: int) -> None:
    """See above."""
    torch.set_num_threads(1)
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    model = build("pixels")
    model.generate(num_samples=4, length=8)  # compiled and warm
    engine = Engine(chunk_steps=steps, pass_steps=PASS_STEPS)
    tasks = [task(model, seed, rows, steps) for seed in range(company)]
    size = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (size + margin, resource.RLIM_INFINITY))
    problems: list[str] = []
    while open_tasks := [task for task in tasks if not task.ended]:
        for step in engine.run(open_tasks):
            if isinstance(step.outcome, Problem):
                problems.append(step.outcome.body.type)
                tasks.remove(step.task)
            else:
                step.task.take(step.steps, step.outcome)
    limit = engine.plan([task(model, 0, 1, 1)]) and engine.limit
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    equal = []
    for done in tasks:
        reply = done.end().reply
        assert isinstance(reply, Done)
        assert reply.values is not None
        equal.append(bool(np.array_equal(reply.values.unpack(), fits(model, done.job.request.seed, rows, steps))))
    report = {"limited_passes": warnings.count, "problems": problems, "equal": equal}
    print(json.dumps({**report, "limit_afterwards": limit, "pass_steps": PASS_STEPS}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
