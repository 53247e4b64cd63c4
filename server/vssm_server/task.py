"""One job while it is worked on: its model, its state, what is still to observe and to generate."""

import math
import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from vssm import VSSM, Advance, State, Window
from vssm.particles import Particles
from vssm.solve import Budget
from vssm_server.messages import Array, Chunk, Done, Passes, SessionHead
from vssm_server.queue import Commit, End, Job, Saved, digest_of

STREAM_PARTS = 8  # a stream gets about this many chunks, or more when they would exceed the largest chunk


class Task:
    """First the prefix is observed, then `length` steps are generated, both in windows that may be cut anywhere.

    While `particles` observe, they are the state; after the prefix one of each sample's goes on.
    """

    def __init__(self, job: Job, model: VSSM, state: State, saved: Saved | None, queue_ms: float) -> None:
        request = job.request
        self.job = job
        self.model = model
        self.values: list[NDArray[np.generic]] = []
        self._saved = saved
        self._prefix = None if request.prefix is None else request.prefix.unpack()  # (steps, size)
        self.state = state
        self._particles: Particles | None = None
        if self._prefix is not None:
            self.state = model.scaled(state, self._prefix)
            if request.num_particles > 1:
                self._particles = Particles.of(self.state, request.num_particles)
        self._budget: Budget | None = None
        if request.max_passes is not None and request.length:
            self._budget = model.budget(request.max_passes, request.length)
        self._passes = np.zeros(request.num_samples, np.int64)
        self._observed = 0
        self._generated = 0
        self.queue_ms = queue_ms
        self._started = time.perf_counter()

    @property
    def rows(self) -> int:
        """Sequences that advance together."""
        return self.job.request.num_samples * (self._particles.count if self._particles else 1)

    @property
    def alone(self) -> bool:
        """Whether the job may be what killed its last workers: it shares no pass then."""
        return self.job.deliveries > 2

    @property
    def observing(self) -> bool:
        """Whether the next window is of the prefix."""
        return self._prefix is not None and self._observed < len(self._prefix)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to observe or generate."""
        return not self.observing and self._generated >= self.job.request.length

    @property
    def whole(self) -> bool:
        """Whether the next window may not be cut: the encoder reads all of the prefix at once."""
        return self.observing and self.model.takes_prefix == "start"

    @property
    def least(self) -> int:
        """Steps of the smallest next window."""
        if self._prefix is not None and self.observing:
            return len(self._prefix) if self.whole else 1
        return min(self._budget.segment, self._left) if self._budget else 1

    @property
    def _left(self) -> int:
        """Steps still to generate."""
        return self.job.request.length - self._generated

    def wanted(self, most: int) -> int:
        """Steps of the next window, at most `most`: all or none of a `whole` one; else whole passes, if they fit."""
        if self._prefix is not None and self.observing:
            if self.whole:
                return len(self._prefix) if len(self._prefix) <= most else 0
            return min(most, len(self._prefix) - self._observed)
        if self.job.request.stream:
            most = min(most, max(self.least, math.ceil(self.job.request.length / STREAM_PARTS)))
        each = self._budget.segment if self._budget else self.model.steps_a_pass
        if most >= self._left:
            return self._left
        return most - most % each if most >= each else 0 if self._budget else most

    def window(self, steps: int) -> Window:
        """The next `steps` steps, for `VSSM.advance`."""
        request = self.job.request
        observed = None
        if self._prefix is not None and self.observing:
            observed = self._prefix[self._observed : self._observed + steps]  # (steps, size)
            if self._particles is not None:
                return self._particles.window(observed)
        return Window(
            state=self.state,
            length=steps,
            observed=observed,
            temperature=request.temperature,
            output="mean" if request.output == "mean" else "sample",
            encode=request.session_id is not None and self.model.takes_prefix == "anywhere",
            budget=self._budget,
        )

    def take(self, steps: int, advance: Advance) -> Chunk | None:
        """Keeps what a pass made; a stream's part is returned, to be sent at once."""
        if self.observing:
            self._take_observed(steps, advance)
            return None
        self.state = advance.state
        self._generated += steps
        if advance.passes is not None:
            self._passes += advance.passes
        if not self.job.request.stream or self.job.request.idempotency is not None:
            self.values.append(advance.values)
        if self.job.request.stream:
            return Chunk(self.job.request.id, self.state.position, Array.pack(advance.values), self.queue_ms)
        return None

    def _take_observed(self, steps: int, advance: Advance) -> None:
        self._observed += steps
        if self._particles is None:
            self.state = advance.state
            return
        self._particles = self._particles.after(advance)
        if not self.observing:
            self.state, self._particles = self._particles.choose(), None

    def end(self) -> End:
        """How the job ends when all is generated. A stream has had its values; a retry with its key gets all."""
        whole, request = self._whole(), self.job.request
        reply = msgspec.structs.replace(whole, values=None) if request.stream else whole
        return End(self.job, reply, self._commit(), None if request.idempotency is None else whole)

    def _whole(self) -> Done:
        return Done(
            id=self.job.request.id,
            fingerprint=self.model.fingerprint,
            seed=self.state.seed,
            position=self.state.position,
            values=Array.pack(self._all_values()) if self.values else None,
            queue_ms=self.queue_ms,
            generate_ms=(time.perf_counter() - self._started) * 1e3,
            session_version=None if self.job.request.session_id is None else self._replaces + 1,
            passes=self._passes_made(),
        )

    @property
    def _replaces(self) -> int:
        """Version of the session that this continues; 0 when it begins one."""
        return 0 if self._saved is None else int(self._saved.version)

    def _passes_made(self) -> Passes | None:
        if not self._passes.any():
            return None
        return Passes(float(self._passes.mean()), int(self._passes.max()), self._budget is not None)

    def _all_values(self) -> NDArray[np.generic]:
        return self.values[0] if len(self.values) == 1 else np.concatenate(self.values, axis=1)

    def _commit(self) -> Commit | None:
        """What is to be saved with the reply, if anything."""
        request = self.job.request
        if request.session_id is None:
            return None
        kept_ms = request.ttl_ms if self._saved is None else request.ttl_ms or self._saved.head.ttl_ms
        data = self.state.to_bytes()
        head = SessionHead(
            model=request.model,
            fingerprint=self.model.fingerprint,
            seed=self.state.seed,
            position=self.state.position,
            num_samples=self.state.num_samples,
            state_bytes=len(data),
            ttl_ms=kept_ms or 0,
            owner=request.owner,
            digest=digest_of(data),
        )
        return Commit(head, data, str(self._replaces).encode())
