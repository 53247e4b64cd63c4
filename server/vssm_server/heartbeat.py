"""Tells the others, twice a second, that this worker lives, what it serves and what it has done."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

import redis

from vssm_server import keys
from vssm_server.connect import script
from vssm_server.messages import Heartbeat, encode
from vssm_server.seal import Seal, beat_of
from vssm_server.tally import Tally, send

EVERY_SECONDS = 0.5
ALIVE_MS = 2500  # without a beat for this long, others take over the jobs
STALLED = 70  # exit status

log = logging.getLogger(__name__)


class Pulse:
    """A thread of its own: a long pass does not look like death."""

    def __init__(
        self, client: redis.Redis, report: Callable[[], Heartbeat], tally: Tally, stall_seconds: float, seal: Seal
    ) -> None:
        self._beat = client.register_script(script("beat", out_of_memory=True))
        self._count = client.register_script(script("count", out_of_memory=True))
        self._redis = client
        self._seal = seal
        self._report = report
        self._tally = tally
        self._stall_seconds = stall_seconds
        self._work: tuple[float, float | None] = (0.0, None)  # seconds until now, and since when there is more
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def beat(self) -> None:
        """One heartbeat, with what the worker has counted. Raises redis.RedisError."""
        report = self._report()
        beat = self._seal.close(beat_of(report.worker), encode(report))
        self._beat(keys=[keys.beat(report.worker), keys.WORKERS], args=[beat, ALIVE_MS, report.worker])
        send(self._count, self._tally, report.worker)

    @property
    def busy_seconds(self) -> float:
        """Spent in passes so far, the present one included."""
        done, since = self._work
        return done if since is None else done + time.monotonic() - since

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While this is open: the process ends when it takes too long. A pass cannot be stopped otherwise."""
        self._work = (self._work[0], time.monotonic())
        try:
            yield
        finally:
            self._work = (self.busy_seconds, None)

    def start(self) -> None:
        """Starts the thread, if it does not run yet."""
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread and takes the worker off the list."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        worker = self._report().worker
        try:
            send(self._count, self._tally, worker)
            self._redis.delete(keys.beat(worker), keys.counted(worker))
            self._redis.zrem(keys.WORKERS, worker)
        except redis.RedisError as error:
            log.warning("could not say goodbye: %s", error)

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_SECONDS):
            since = self._work[1]
            if since is not None and time.monotonic() - since > self._stall_seconds:
                log.error("a pass has hung for %g seconds; the worker ends, others take its jobs", self._stall_seconds)
                os._exit(STALLED)
            try:
                self.beat()
            except redis.RedisError as error:
                log.debug("no heartbeat: %s", error)
