"""The highest version of each session that this process has seen: an older one is a replay, or a Redis that fell back.

A signature proves that a state was this session's once, not that it is its last. That takes a memory outside of Redis:
this one, of every API and every worker while it runs, and the client's, that sends back the version it last saw.
"""

from collections import OrderedDict

MOST = 100_000  # sessions; those not seen for longest are forgotten
DELETED = 2**63 - 1


class Versions:
    """Bounded, in memory."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: OrderedDict[str, int] = OrderedDict()

    def see(self, session_id: str, version: int) -> bool:
        """Whether this version may be; remembers it then."""
        if version < self._seen.get(session_id, 0):
            return False
        self._seen[session_id] = version
        self._seen.move_to_end(session_id)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True

    def delete(self, session_id: str) -> None:
        """The session is gone: whatever comes back under its id is a replay."""
        self.see(session_id, DELETED)
