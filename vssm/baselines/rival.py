"""What both rivals are: p(x) = prod_t p(x_t | x_{<t}), a causal stack between an embedding and an observation head.

    x         values               (B, T, size)
    e         inputs of the stack  (B, T, W)     e_0 a learned start, e_t the embedding of x_{t-1}
    features  outputs of it        (B, T, W)     the head turns feature t into p(x_t | x_{<t})

The head and the embedding's features are the VSSM's own (`vssm.observations`). A stack offers two ways that agree: the
full pass, and the step. This module knows nothing of how either is done, nor of compiled steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from vssm.model import Elbo
from vssm.observations import build_observation

if TYPE_CHECKING:
    from vssm.baselines.cache import Cache
    from vssm.baselines.config import RivalConfig
    from vssm.baselines.generate import Generated

_VALUES_AT_ONCE = 1 << 22  # features of one pass outside training: bounds its memory


class Rival(nn.Module, ABC):
    """An autoregressive model, freshly initialised from torch's default generator."""

    levels: ClassVar[tuple[()]] = ()  # of latents: none
    grows: ClassVar[bool]  # whether the cache grows with the position

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.observation = build_observation(config.observation, config.size, config.width)
        self.embed = nn.Linear(self.observation.feature_size, config.width)
        self.start = nn.Parameter(torch.randn(config.width))

    # -- what a stack offers -------------------------------------------------------------------------------------

    @abstractmethod
    def stack(self, e: Tensor) -> Tensor:
        """The full pass from the start: inputs (B, T, W) -> features (B, T, W); differentiable."""

    @abstractmethod
    def empty(self, num_samples: int, capacity: int) -> tuple[Tensor, ...]:
        """The cache before the first step, with room for `capacity` steps."""

    @abstractmethod
    def prefill(self, e: Tensor, position: int, cached: tuple[Tensor, ...]) -> Tensor:
        """Inputs (B, T, W) of steps from `position` on -> the last feature (B, W); `cached` is moved on in place."""

    @abstractmethod
    def prepare(self) -> tuple[Tensor, ...]:
        """Tensors that every step needs and that only the weights decide."""

    @abstractmethod
    def step(
        self, e: Tensor, position: Tensor, seen: Tensor, cached: tuple[Tensor, ...], prepared: tuple[Tensor, ...]
    ) -> Tensor:
        """One step: input (B, W) at `position` (1,) int64 -> feature (B, W); `cached` is moved on in place.

        `seen` (n,) is 0..n-1 with n > position: the part of a growing cache that is looked at.
        """

    # -- likelihood ----------------------------------------------------------------------------------------------

    def embedded(self, x: Tensor) -> Tensor:
        """The inputs (B, T, W) that follow the values x (B, T, size)."""
        inputs: Tensor = self.embed(self.observation.embed(x).to(self.start.dtype))
        return inputs

    def params(self, features: Tensor) -> Tensor:
        """Parameters (B, T, *params_shape) of p(x_t | x_{<t}) from features (B, T, W)."""
        return self.observation.params(features)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x_t | x_{<t}) of x (B, T, size), (B, T) nats."""
        first = self.start.expand(x.shape[0], 1, -1)
        features = self.stack(torch.cat([first, self.embedded(x[:, :-1])], dim=1))
        return self.observation.log_prob(self.params(features), x)

    def log_likelihood(self, x: Tensor) -> Tensor:
        """The exact log p(x) of x (B, T, size), (B,) nats, without gradient."""
        rows = max(1, _VALUES_AT_ONCE // max(1, x.shape[1] * self.config.width))
        with torch.no_grad():
            return torch.cat([self.log_prob(part).sum(1) for part in torch.split(x, rows)])

    def elbo(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        free_bits: float = 0.0,
        kl_weight: float | Tensor = 1.0,
    ) -> Elbo:
        """The terms of a VSSM's bound, for the common training: exact, without latents and so without a KL."""
        exact = self.log_prob(x).sum(1)
        return Elbo(exact, exact.new_zeros(len(exact), 0), exact)

    # -- generation ----------------------------------------------------------------------------------------------

    def generate(
        self,
        num_samples: int | None = None,
        length: int | None = None,
        seed: int = 0,
        prefix: Any = None,
        temperature: float = 1.0,
        cache: Cache | None = None,
    ) -> Generated:
        """Generate `length` steps, from the start, after a `prefix` (steps, size), or after a `cache`'s steps.

        Returns values (num_samples, length, size) and the cache, moved on in place, to go on from. A cache brings its
        own number of samples; a prefix is observed after its steps. The noise of a step depends on seed, sample and
        position, so going on with the same seed is as never having stopped. `length` defaults to what is left of the
        model's own length. Raises ValueError (ObservationError) for what does not fit.
        """
        from vssm.baselines.generate import generate

        return generate(self, num_samples, length, seed, prefix, temperature, cache)

    def condition(self, prefix: Any, num_samples: int = 1) -> Cache:
        """The cache after observing `prefix` (steps, size): one parallel pass, whose cost the samples share."""
        from vssm.baselines.generate import condition

        return condition(self, prefix, num_samples)

    def warm_up(self, num_samples: int, length: int) -> None:
        """Compile whatever `generate` with these sizes will need, so that no later call pays for it."""
        from vssm.baselines.generate import warm_up

        warm_up(self, num_samples, length)

    def cache_bytes(self, position: int, num_samples: int = 1) -> int:
        """Bytes that must be kept to go on from `position`: a Transformer's grow with it, a Mamba's do not."""
        empty, one_step = (sum(t.numel() for t in self.empty(1, steps)) for steps in (0, 1))
        kept = empty + position * (one_step - empty) + self.config.width
        return num_samples * kept * self.start.element_size()

    # -- description ---------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return self.start.device

    @property
    def parameter_count(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.parameters())
