"""Jobs that take turns, so that a disturbance meets all of them, and the median of each."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_MOST_IN_A_TURN = 5
_CALM_SECONDS = 0.03  # before each run: threads of the one before spin for a while, waiting for more work
_LEAST_SHARE = 0.05  # of the dearest job: one this cheap is run several times a turn
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Job:
    """What is timed, given what `prepare` made outside of the time."""

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Clock:
    """Wall time with all work of the device done."""

    device: torch.device

    def wait(self) -> None:
        """Until the device has nothing left to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, job: Job) -> float:
        """Of one run."""
        given = job.prepare()
        self.wait()
        time.sleep(_CALM_SECONDS)
        began = time.perf_counter()
        job.run(given)
        self.wait()
        return time.perf_counter() - began


def in_turns(clock: Clock, jobs: dict[str, Job], seconds: float, least: int = 3, most: int = 31) -> Times:
    """Times of each job's runs: at least `least` turns, then on until `seconds` are over or `most` turns are done."""
    times: Times = {name: [clock.seconds(job)] for name, job in jobs.items()}  # the first turn warms up
    dearest = max((values[0] for values in times.values()), default=0.0)
    at_once = {
        name: min(_MOST_IN_A_TURN, max(1, round(_LEAST_SHARE * dearest / max(values[0], 1e-9))))
        for name, values in times.items()
    }
    if dearest > seconds / 2 and least < 3:  # too dear to throw a turn away
        least -= 1
    else:
        times = {name: [] for name in jobs}
    end = time.perf_counter() + seconds
    for turn in itertools.count():
        if turn >= least and (turn >= most or time.perf_counter() + dearest > end):
            return times
        for name, job in jobs.items():
            times[name] += [clock.seconds(job) for _ in range(at_once[name])]
    raise AssertionError


def median(values: list[float]) -> float:
    """In seconds."""
    return statistics.median(values)
