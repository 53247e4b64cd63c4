"""Memory, files and keys of the service while it works, every few seconds; and how much they have grown."""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import psutil
from vssm_server import keys
from vssm_server.connect import connect

from tests.soak.service import Target

PARTS = ("api", "worker", "redis")


@dataclass(frozen=True)
class Sample:
    """At one moment: seconds since the start, resident bytes, open files, keys in Redis and its own memory in bytes."""

    seconds: float
    api: int
    worker: int
    redis: int
    files: int
    keys: int
    waiting: int


@dataclass(frozen=True)
class Growth:
    """Of one figure after the warm-up: medians of the first and the last window, and what the whole line says."""

    first: float
    last: float
    grown: float  # last / first - 1
    slope: float  # of a least squares line, over the whole time after the warm-up, as a part of `first`


async def watch(target: Target, every: float, over: Callable[[], bool]) -> list[Sample]:
    """Samples until it is over."""
    began, samples = time.monotonic(), []
    processes = [psutil.Process(pid) for pid in (target.api, target.worker)]
    with connect(target.redis_url) as client:
        while not over():
            api, worker = (process.memory_info().rss for process in processes)
            info = cast("dict[str, int]", client.info("memory"))
            samples.append(
                Sample(
                    seconds=round(time.monotonic() - began, 2),
                    api=api,
                    worker=worker,
                    redis=info["used_memory"],
                    files=sum(process.num_fds() for process in processes),
                    keys=client.dbsize(),
                    waiting=client.xlen(keys.JOBS),
                )
            )
            await asyncio.sleep(every)
    return samples


def growth(samples: Sequence[Sample], part: str, warm_up: float, window: float) -> Growth:
    """How much `part` has grown since `warm_up` seconds; windows are of `window` seconds.

    A median of many samples does not mind a peak, as memory that is taken for one large answer and given back.
    """
    after = [sample for sample in samples if sample.seconds >= warm_up]
    end = after[-1].seconds
    value = {sample.seconds: float(getattr(sample, part)) for sample in after}
    first = statistics.median(amount for at, amount in value.items() if at <= warm_up + window)
    last = statistics.median(amount for at, amount in value.items() if at >= end - window)
    slope = np.polyfit(list(value), list(value.values()), 1)[0] * (end - warm_up)
    return Growth(first, last, last / first - 1, float(slope / first))


def as_rows(samples: Sequence[Sample]) -> list[dict[str, float]]:
    """For a file."""
    return [asdict(sample) for sample in samples]
