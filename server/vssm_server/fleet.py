"""What the API knows about the workers: their heartbeats, read from Redis and kept for a moment."""

import asyncio
import logging
import math
import time

import msgspec
import redis
import redis.asyncio
from redis.exceptions import OutOfMemoryError

from vssm_server import keys
from vssm_server.connect import whole_number
from vssm_server.errors import NO_WORKER, REDIS_AWAY, STORAGE_FULL, Problem
from vssm_server.hub import Hub
from vssm_server.messages import Heartbeat, ModelInfo, decode_heartbeat
from vssm_server.seal import Seal, SealError, beat_of

REFRESH_SECONDS = 0.5
PROBE_MS = 10_000
LONGEST_WAIT_SECONDS = 60

log = logging.getLogger(__name__)


class Pace:
    """Jobs per second that the workers end while there are any, a mean over about ten seconds."""

    MEMORY_SECONDS = 10.0
    FIRST_GUESS = 10.0

    def __init__(self) -> None:
        self.jobs_per_second = self.FIRST_GUESS
        self._ended: dict[str, int] = {}
        self._seen = time.monotonic()

    def see(self, workers: list[Heartbeat], busy: bool) -> None:
        """Takes the counts of the last heartbeats into the mean."""
        now = time.monotonic()
        ended = {worker.worker: worker.ended for worker in workers}
        done = sum(count - self._ended[name] for name, count in ended.items() if name in self._ended)
        passed = max(1e-3, now - self._seen)
        if busy or done:
            share = 1 - math.exp(-passed / self.MEMORY_SECONDS)
            self.jobs_per_second = max(1e-3, (1 - share) * self.jobs_per_second + share * done / passed)
        self._ended, self._seen = ended, now


class Fleet:
    """The live workers, their models, and whether Redis answers."""

    def __init__(self, client: "redis.asyncio.Redis", default_model: str, seal: Seal) -> None:
        self.default_model = default_model
        self.workers: list[Heartbeat] = []
        self.storage_full = False
        self.redis_error: str | None = "not connected yet"
        self.waiting = 0
        self._redis = client
        self._seal = seal
        self._strangers: set[str] = set()
        self._pace = Pace()

    async def watch(self, hub: Hub) -> None:
        """Runs for ever: reads the heartbeats and gives this process' own."""
        while True:
            await self.once(hub)
            await asyncio.sleep(REFRESH_SECONDS)

    async def once(self, hub: Hub) -> None:
        """One look and one heartbeat."""
        try:
            await hub.beat()
            await self.refresh()
            self.storage_full = await self._is_full()
            self.redis_error = None
        except (redis.RedisError, OSError) as error:
            if self.redis_error is None:
                log.warning("Redis is away: %s", error)
            self.redis_error, self.workers = str(error), []

    async def refresh(self) -> None:
        """Reads the heartbeats now."""
        names = [
            name.decode(errors="replace")
            for name in await self._redis.zrange(keys.WORKERS, 0, -1)
            if isinstance(name, bytes)
        ]
        beats = await self._redis.mget([keys.beat(name) for name in names]) if names else []
        self.workers = list(filter(None, map(self._read, names, beats)))
        jobs = int(await self._redis.xlen(keys.JOBS)) + whole_number(await self._redis.get(keys.BACKLOGGED))
        self.waiting = max(0, jobs - sum(worker.running for worker in self.workers))
        self._pace.see(self.workers, busy=jobs > 0)

    def _read(self, name: str, beat: object) -> Heartbeat | None:
        """As `read_heartbeat`; what cannot be read is said once."""
        try:
            return read_heartbeat(name, beat, self._seal)
        except (msgspec.MsgspecError, SealError) as error:
            if name not in self._strangers:
                log.error("the heartbeat of %s cannot be read: %s", name, error)
            self._strangers = {*list(self._strangers)[-99:], name}
            return None

    async def _is_full(self) -> bool:
        try:
            await self._redis.set(keys.PROBE, 1, px=PROBE_MS)
        except OutOfMemoryError:
            return True
        return False

    def drain_seconds(self, jobs: int) -> int:
        """How long the workers will need for that many jobs at their present pace; whole seconds, at least 1."""
        return min(LONGEST_WAIT_SECONDS, max(1, math.ceil(jobs / self._pace.jobs_per_second)))

    async def check_now(self) -> None:
        """As `check`, but looks again before it says that no worker is there."""
        if self.redis_error is None and not self.workers:
            await self.refresh()
        self.check()

    def check(self) -> None:
        """Raises Problem unless Redis answers and a worker is there."""
        if self.redis_error is not None:
            raise Problem("redis_unavailable", REDIS_AWAY)
        if self.storage_full:
            raise Problem("storage_full", STORAGE_FULL)
        if not self.workers:
            raise Problem("no_worker", NO_WORKER)

    @property
    def models(self) -> dict[str, ModelInfo]:
        """Every model that a live worker serves."""
        return {name: info for worker in self.workers for name, info in worker.models.items()}

    @property
    def failed(self) -> dict[str, str]:
        """Every checkpoint that no live worker could load, with the reason."""
        models = self.models
        reasons = {name: why for worker in self.workers for name, why in worker.failed.items()}
        return {name: why for name, why in reasons.items() if name not in models}

    def model(self, name: str | None, param: str | None = "model") -> ModelInfo:
        """The model of that name; without one the default, or the only one. Raises Problem."""
        self.check()
        models = self.models
        if name is None and len(models) == 1:
            return next(iter(models.values()))
        choice = ", ".join(sorted(models)) or "none"
        if name is None and self.default_model in models:
            return models[self.default_model]
        if name is None:
            raise Problem("invalid_value", f"model is needed, as several are served: {choice}.", param)
        if name in models:
            return models[name]
        if name in self.failed:
            raise Problem("model_failed", f"The checkpoint of {name!r} cannot be used: {self.failed[name]}", param)
        raise Problem("model_not_found", f"There is no model {name[:100]!r}; served are: {choice}.", param)


def read_heartbeat(name: str, beat: object, seal: Seal) -> Heartbeat | None:
    """What a worker says of itself; None when it has expired. Raises SealError or msgspec.MsgspecError.

    These are of a worker with another signing key, or of another version.
    """
    return decode_heartbeat(seal.open(beat_of(name), beat)) if isinstance(beat, bytes) else None
