"""Particles: several latent paths of each sample through a prefix, of which one goes on.

Each sample draws `count` paths from the encoder; one is chosen with a probability proportional to its importance
weight (`vssm.weights`), so that with more particles the state comes nearer to a draw from p(z | prefix) itself, however
good the encoder is (sampling-importance-resampling; Rubin, 1988). Particle 0 is the path that a sample without
particles has. Noise and choice are functions of (seed, sample, particle, position), so the prefix may be cut into
windows anywhere: the weights so far go along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vssm.noise import MAX_PARTICLES, MAX_SAMPLES, Counters, Purpose, particle
from vssm.state import State

if TYPE_CHECKING:
    from vssm.passes import Advance, Window


def check_count(num_particles: int) -> None:
    """Raises ValueError."""
    if not 1 <= num_particles <= MAX_PARTICLES:
        raise ValueError(f"num_particles must be from 1 to {MAX_PARTICLES}, not {num_particles}")


@dataclass(frozen=True)
class Particles:
    """`state` has a row for each particle, those of a sample beside each other; log_weight (rows,) is float64."""

    state: State
    count: int
    log_weight: NDArray[np.float64]

    @classmethod
    def of(cls, state: State, count: int) -> Particles:
        """`count` copies of each sample of `state`, with equal weights; raises ValueError when these are too many."""
        check_count(count)
        rows = state.num_samples * count
        if rows >= MAX_SAMPLES:
            raise ValueError(f"num_samples x num_particles must be below {MAX_SAMPLES}, not {rows}")
        tensors = {name: tensor.repeat_interleave(count, dim=0) for name, tensor in state.tensors.items()}
        return cls(replace(state, tensors=tensors), count, np.zeros(rows))

    def window(self, observed: NDArray[Any]) -> Window:
        """The window that observes the next steps (steps, size)."""
        from vssm.passes import Window  # which needs this module

        return Window(self.state, len(observed), observed, particles=self)

    def after(self, advance: Advance) -> Particles:
        """The particles after that window."""
        assert advance.log_weight is not None
        return Particles(advance.state, self.count, advance.log_weight)

    def choose(self) -> State:
        """The state of the samples after the prefix: of one particle each, by the Gumbel-max trick."""
        sample = torch.arange(len(self.log_weight) // self.count).repeat_interleave(self.count)
        number = torch.arange(self.count).repeat(len(self.log_weight) // self.count)
        last = torch.full_like(sample, self.state.position - 1)  # so that every prefix of a sequence chooses anew
        counters = Counters(torch.full_like(sample, self.state.seed), particle(sample, number), last)
        gumbel = counters.draw("gumbel", Purpose.CHOICE, 1, 1)[:, 0, 0].double().numpy()
        score = (self.log_weight + gumbel).reshape(-1, self.count)
        chosen = torch.from_numpy(score.argmax(1) + self.count * np.arange(len(score)))
        return replace(self.state, tensors={name: tensor[chosen] for name, tensor in self.state.tensors.items()})
