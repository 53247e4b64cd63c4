"""The highest version of each session seen on this machine: an older one is a replay, or a Redis that fell back.

A signature proves that a state was this session's once, not that it is its last. That takes a memory outside of Redis:
this one, a file beside the signing key that every API and worker of the machine maps, and that outlives them; and the
client's, that sends back the version it last saw.

All its memory (6 MiB) is taken at the start, so that a process does not grow with the sessions it has seen. It is a
table of rows; the session's id, which is random, says which row. In its row the session seen last stands first, the
one not seen for longest leaves. There is four times the room that `most` sessions need, so that rows hardly ever fill
before: of 100,000 sessions, one is forgotten too early.
"""

import fcntl
import hashlib
import logging
import mmap
import os
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vssm_server.seal import signing_file
from vssm_server.settings import Settings

MOST = 100_000  # sessions; those not seen for longest are forgotten
WAYS = 16  # sessions of a row
ROOM = 4  # places for each of `most`
DELETED = 2**63 - 1
_ROW = 8 * 2 * WAYS  # bytes: first 64 bits of each id, 0 for a free place, then each version

log = logging.getLogger(__name__)


class Versions:
    """Bounded; in a file, shared by all processes that opened it, or in memory. Raises OSError."""

    def __init__(self, path: Path | None = None, most: int = MOST) -> None:
        self._rows = max(1, ROOM * most // WAYS)
        self._file = -1 if path is None else _opened(path, self._rows * _ROW)
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # all pages now, where there is a way
        self._table = memoryview(mmap.mmap(self._file, self._rows * _ROW, flags)).cast("Q")
        self._lock = threading.Lock()

    def see(self, session_id: str, version: int) -> bool:
        """Whether this version may be; remembers it then."""
        digest = int.from_bytes(hashlib.blake2b(session_id.encode(), digest_size=16).digest())
        row, mark = digest % self._rows, (digest >> 64) or 1
        place = slice(2 * WAYS * row, 2 * WAYS * (row + 1))
        with self._alone(row):
            held = self._table[place].tolist()
            marks, versions = held[:WAYS], held[WAYS:]
            at = marks.index(mark) if mark in marks else WAYS - 1
            if marks[at] == mark and version < versions[at]:
                return False
            for values, value in ((marks, mark), (versions, version)):
                values.pop(at)
                values.insert(0, value)
            self._table[place] = memoryview(array("Q", marks + versions))
            return True

    def delete(self, session_id: str) -> None:
        """The session is gone: whatever comes back under its id is a replay."""
        self.see(session_id, DELETED)

    @contextmanager
    def _alone(self, row: int) -> Iterator[None]:
        """No other thread or process is at this row; the system takes the lock from one that dies."""
        with self._lock:
            if self._file >= 0:
                fcntl.lockf(self._file, fcntl.LOCK_EX, _ROW, row * _ROW)
            try:
                yield
            finally:
                if self._file >= 0:
                    fcntl.lockf(self._file, fcntl.LOCK_UN, _ROW, row * _ROW)


def versions_of(settings: Settings) -> Versions:
    """Those of this machine; where the signing key's folder cannot be written, of this process."""
    path = signing_file(settings).with_name("versions")
    try:
        return Versions(path)
    except OSError as error:
        log.warning(
            "%s cannot be used (%s): which version of a session is the last is remembered by each process alone, "
            "and not after its end. See SECURITY.md.", path, error,
        )  # fmt: skip
        return Versions()


def _opened(path: Path, size: int) -> int:
    """A file of that size for its owner only, of zeros when it is new."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX)
        found = os.fstat(file).st_size
        if found not in (0, size):
            raise OSError(f"it has {found} bytes, not {size}; delete it, and every session counts as new")
        if not found:
            os.pwrite(file, bytes(size), 0)  # a full disk is found now, not by a signal later
        fcntl.lockf(file, fcntl.LOCK_UN)
    except OSError:
        os.close(file)
        raise
    return file
