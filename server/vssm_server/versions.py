"""The highest version of each session that this process has seen: an older one is a replay, or a Redis that fell back.

A signature proves that a state was this session's once, not that it is its last. That takes a memory outside of Redis:
this one, of every API and every worker while it runs, and the client's, that sends back the version it last saw.

All its memory (6 MiB) is taken at the start, so that a process does not grow with the sessions it has seen. It is a
table of rows; the session's id, which is random, says which row. In its row the session seen last stands first, the
one not seen for longest leaves. There is four times the room that `most` sessions need, so that rows hardly ever fill
before: of 100,000 sessions, one is forgotten too early.
"""

import hashlib
from array import array

MOST = 100_000  # sessions; those not seen for longest are forgotten
WAYS = 16  # sessions of a row
ROOM = 4  # places for each of `most`
DELETED = 2**63 - 1


class Versions:
    """Bounded, in memory."""

    def __init__(self, most: int = MOST) -> None:
        self._rows = max(1, ROOM * most // WAYS)
        self._marks = array("Q", bytes(8 * WAYS * self._rows))  # 64 bits of each id; 0: a free place
        self._versions = array("Q", bytes(8 * WAYS * self._rows))

    def see(self, session_id: str, version: int) -> bool:
        """Whether this version may be; remembers it then."""
        digest = int.from_bytes(hashlib.blake2b(session_id.encode(), digest_size=16).digest())
        begin, mark = digest % self._rows * WAYS, (digest >> 64) or 1
        place = slice(begin, begin + WAYS)
        marks, versions = self._marks[place], self._versions[place]
        at = marks.index(mark) if mark in marks else WAYS - 1
        if marks[at] == mark and version < versions[at]:
            return False
        marks.pop(at)
        versions.pop(at)
        marks.insert(0, mark)
        versions.insert(0, version)
        self._marks[place], self._versions[place] = marks, versions
        return True

    def delete(self, session_id: str) -> None:
        """The session is gone: whatever comes back under its id is a replay."""
        self.see(session_id, DELETED)
