"""What a process has counted and not yet added to the totals in Redis. Adding happens once, whatever breaks meanwhile.

A portion that is under way is kept, with its number, until its answer is here; sent again, it is recognised.
"""

import threading
from collections import Counter
from collections.abc import Iterable

from redis.commands.core import AsyncScript, Script

from vssm_server import keys
from vssm_server.connect import Call

MARK_MS = 3_600_000  # an unanswered portion is recognised for this long


class Tally:
    """Amounts by the names of their totals. Threads may share it."""

    def __init__(self) -> None:
        self._counted: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._number = 0
        self._lock = threading.Lock()

    def add(self, total: str, amount: int = 1) -> None:
        """Counts."""
        with self._lock:
            self._counted[total] += amount

    def add_all(self, amounts: Iterable[tuple[str, int]]) -> None:
        """Counts several."""
        with self._lock:
            for total, amount in amounts:
                self._counted[total] += amount

    def portion(self, process: str) -> tuple[int, Call] | None:
        """What is to be added now, as a call of `count.lua`, and its number; None when there is nothing."""
        with self._lock:
            if not self._under_way:
                if not self._counted:
                    return None
                self._under_way, self._counted = self._counted, Counter()
                self._number += 1
            amounts = [part for pair in self._under_way.items() for part in pair]
            return self._number, ([keys.TOTALS, keys.counted(process)], [self._number, MARK_MS, *amounts])

    def arrived(self, number: int) -> None:
        """The portion of that number is among the totals."""
        with self._lock:
            if number == self._number:
                self._under_way = Counter()

    def of(self, total: str) -> int:
        """What is counted here and not known to be among the totals."""
        with self._lock:
            return self._counted[total] + self._under_way[total]


def send(count: Script, tally: Tally, process: str) -> None:
    """Adds everything counted so far to the totals. Raises redis.RedisError."""
    if (portion := tally.portion(process)) is not None:
        number, (names, args) = portion
        count(keys=names, args=args)
        tally.arrived(number)


async def send_async(count: AsyncScript, tally: Tally, process: str) -> None:
    """As `send`, for the event loop."""
    if (portion := tally.portion(process)) is not None:
        number, (names, args) = portion
        await count(keys=names, args=args)
        tally.arrived(number)
