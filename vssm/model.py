"""The variational state space model: networks, evidence lower bound and importance-weighted bound.

    x  observations  (B, T, size)        e  encoder features  (B, T, E)
    z  latents       (B, T, Z) a level   d  decoder features  (B, T, D) after a level

    prior      p(z) = prod_t p(z_t)                          iid at the lowest level
    decoder    p(x | z) = prod_t p(x_t | z_{1..t})           a causal stack of SSM blocks
    encoder    q(z_t | x_{1..t}) or q(z_t | x_{1..T})        causal or bidirectional
    ELBO       E_q[log p(x | z)] - KL(q(z | x) || p(z))      nats per sequence

Source: Lambrechts, Claes, Geurts, Ernst, "Parallelizing autoregressive generation with variational state space
models", 2024. With several levels, level k's prior reads the decoder below it, so a pass over the levels stays parallel
in time. This module knows nothing about seeds, sessions or windows; `generation` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from vssm import generation, weights
from vssm.checkpoint import fingerprint_of
from vssm.config import GaussianLevel, ModelConfig
from vssm.generation import MAX_TEMPERATURE, Generated
from vssm.latents import Draw, Latent, build_latent
from vssm.networks import Networks, build_networks
from vssm.noise import MAX_PARTICLES
from vssm.observations import build_observation
from vssm.passes import Advance, Output, Window
from vssm.past import Past, hidden, params
from vssm.solve import Budget
from vssm.ssm import Bidirectional, Stack
from vssm.state import State

_STEPS_AT_ONCE = 1 << 14  # of importance samples in one pass: fills the machine, fits its memory


@dataclass(frozen=True)
class Elbo:
    """Terms of the bound in nats; `nats` (B,) is log_likelihood (B,) minus the sum of kl (B, levels).

    `objective` (B,) is what training maximises: the bound with the KL weighted and floored by free bits.
    """

    log_likelihood: Tensor
    kl: Tensor
    objective: Tensor

    @property
    def nats(self) -> Tensor:
        return self.log_likelihood - self.kl.sum(-1)


class Level(nn.Module):
    """One latent level with the decoder stack above it."""

    def __init__(self, model: ModelConfig, index: int) -> None:
        super().__init__()
        level, decoder = model.levels[index], model.decoder
        assert model.encoder is not None  # there is one wherever there are levels
        self.latent: Latent = build_latent(level, model.encoder.width, decoder.width, lowest=index == 0)
        self.inject = nn.Linear(self.latent.size, decoder.width)
        self.stack = Stack(decoder.width, decoder.state, level.layers, decoder.linear)

    def decode(self, z: Tensor, d: Tensor | None, state: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z (B, T, Z) and the features below -> features (B, T, D), state (B, L, 2N)."""
        u = self.inject(z)
        features: tuple[Tensor, Tensor] = self.stack(u if d is None else d + u, state, last)
        return features


class VSSM(nn.Module):
    """A variational state space model, freshly initialised from torch's default generator."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = config.encoder, config.decoder
        self.observation = build_observation(config.observation, config.size, decoder.width, decoder.linear)
        seen = [v.size for v in config.levels if isinstance(v, GaussianLevel)] if encoder and encoder.sees_noise else []
        self.noise_size = sum(seen)
        self.embed: nn.Linear | None = None
        self.encoder: Stack | Bidirectional | None = None
        if encoder is not None:
            self.embed = nn.Linear(self.observation.feature_size + self.noise_size, encoder.width)
            stack = Stack if encoder.kind == "causal" else Bidirectional
            self.encoder = stack(encoder.width, encoder.state, encoder.layers)
        self.levels = cast("list[Level]", nn.ModuleList(Level(config, k) for k in range(len(config.levels))))
        self.past = None if config.past is None else Past(config, self.observation)
        self._weights: list[nn.Parameter] = []
        self._packed: tuple[tuple[object, ...], Networks] | None = None

    # -- the two halves ------------------------------------------------------------------------------------------

    def encoder_features(self, x: Tensor, noise: Tensor | None, before: Tensor | None) -> Tensor:
        """What the encoder reads (B, T, F) of x (B, T, size).

        `noise` (B, T, Zg) made the Gaussian latents of these steps and `before` (B, Zg) those of the step before (None
        at the start of the sequence); both are read only by an encoder that sees noise.
        """
        features: Tensor = self.observation.embed(x).to(self.weight.dtype)
        if not self.noise_size or noise is None:
            return features
        first = noise.new_zeros(noise.shape[0], 1, noise.shape[2]) if before is None else before[:, None]
        return torch.cat([features, torch.cat([first, noise[:, :-1]], dim=1)], dim=-1)

    def encode(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Encoder features (B, T, E) of whole sequences x (B, T, size); see `encoder_features`."""
        assert self.embed is not None
        assert self.encoder is not None
        embedded = self.embed(self.encoder_features(x, noise, None))
        if isinstance(self.encoder, Bidirectional):
            features: Tensor = self.encoder(embedded)
            return features
        e: Tensor = self.encoder(embedded, self.encoder.start(x.shape[0], embedded))[0]
        return e

    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """Parameters (B, T, *params_shape) of p(x | z) for latents of all levels, from the start of the sequence."""
        d: Tensor | None = None
        for level, z_k in zip(self.levels, z, strict=True):
            d, _ = level.decode(z_k, d, level.stack.start(z_k.shape[0], z_k))
        assert d is not None
        return self.observation.params(d)

    def params(self, x: Tensor, d: Tensor | None) -> Tensor:
        """Parameters (B, T, *params_shape) of p(x_t | z_{1..t}), or of p(x_t | z_{1..t}, x_{<t}) with a past.

        x (B, T, size) are whole sequences, d (B, T, D) the features of their latents, None without levels.
        """
        if self.past is None:
            assert d is not None
            return self.observation.params(d)
        features, near = self.past.whole(self.observation.embed(x).to(self.weight.dtype), d)
        return params(self.observation, hidden(self.observation, features) + near)

    def infer(self, x: Tensor, noise: Sequence[Tensor]) -> tuple[list[Draw], Tensor | None]:
        """Posterior draws of every level (coarse to fine) and the features (B, T, D) they decode to, if any."""
        if not self.levels:
            return [], None
        return self.infer_from(self.posterior_features(x, noise), noise)

    def infer_from(self, e: Tensor, noise: Sequence[Tensor]) -> tuple[list[Draw], Tensor]:
        """`infer` from encoder features (B, T, E)."""
        d: Tensor | None = None
        draws = []
        for k, level in enumerate(self.levels):
            draw = self._posterior(k, e, d, noise)
            d, _ = level.decode(draw.z, d, level.stack.start(e.shape[0], draw.z))
            draws.append(draw)
        assert d is not None
        return draws, d

    def posterior_features(self, x: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Encoder features (B, T, E) of x (B, T, size), whose latents `noise` makes."""
        return self.encode(x, self.gaussian_noise(noise))

    def _posterior(self, k: int, e: Tensor, d: Tensor | None, noise: Sequence[Tensor]) -> Draw:
        return self.levels[k].latent.posterior(e, d, noise[k])

    def gaussian_noise(self, noise: Sequence[Tensor]) -> Tensor | None:
        """The part of all levels' noise that an encoder with `sees_noise` reads, (B, T, Zg)."""
        if not self.noise_size:
            return None
        seen = [n for n, v in zip(noise, self.config.levels, strict=True) if isinstance(v, GaussianLevel)]
        return torch.cat(seen, dim=-1)

    # -- bounds --------------------------------------------------------------------------------------------------

    def draw_noise(self, x: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Base noise of every level for x (B, T, size), for training and evaluation."""
        like = self.weight
        return [v.latent.draw_noise((x.shape[0], x.shape[1]), like, generator) for v in self.levels]

    def elbo(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        free_bits: float = 0.0,
        kl_weight: float | Tensor = 1.0,
    ) -> Elbo:
        """A one-sample estimate of the evidence lower bound of x (B, T, size); terms in nats per sequence.

        `free_bits` (nats per level and step, of the batch mean) and `kl_weight` change only `objective`.
        """
        draws, d = self.infer(x, self.draw_noise(x, generator))
        log_likelihood = self.observation.log_prob(self.params(x, d), x).sum(1)
        if not draws:
            return Elbo(log_likelihood, log_likelihood.new_zeros(len(x), 0), log_likelihood)
        kl = torch.stack([draw.kl for draw in draws], dim=-1)  # (B, T, levels)
        floor = (free_bits - kl.mean(0)).clamp(min=0.0).sum() if free_bits else 0.0
        objective = log_likelihood - kl_weight * (kl.sum((1, 2)) + floor) + self._auxiliary(x, d)
        return Elbo(log_likelihood, kl.sum(1), objective)

    def _auxiliary(self, x: Tensor, d: Tensor | None) -> Tensor | float:
        """The weighted log-likelihood (B,) of the second head, which reads the latents alone."""
        if self.past is None or self.past.auxiliary is None:
            return 0.0
        alone = self.observation.shaped(self.past.auxiliary(d))
        return self.past.config.auxiliary_weight * self.observation.log_prob(alone, x).sum(1)

    def log_weight(self, x: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """log p(x, z) - log q(z | x) (B,) of the latents that `noise` gives; its exponential has mean p(x)."""
        draws, d = self.infer(x, noise)
        log_likelihood = self.observation.log_prob(self.params(x, d), x).sum(1)
        return log_likelihood - sum(draw.log_ratio.sum(1) for draw in draws)

    def log_likelihood(
        self, x: Tensor, num_importance_samples: int = 64, generator: torch.Generator | None = None
    ) -> Tensor:
        """The importance-weighted bound on log p(x) with K samples (Burda et al., 2016): (B,) nats, no gradient.

        Without levels it is log p(x) itself, whatever K.
        """
        num_importance_samples = num_importance_samples if self.levels else 1
        at_once = max(1, _STEPS_AT_ONCE // max(1, x.shape[0] * x.shape[1]))
        weights: list[Tensor] = []
        with torch.no_grad():
            for done in range(0, num_importance_samples, at_once):
                copies = x.repeat(min(at_once, num_importance_samples - done), 1, 1)
                weights.append(self.log_weight(copies, self.draw_noise(copies, generator)).view(-1, x.shape[0]))
        return torch.logsumexp(torch.cat(weights), dim=0) - math.log(num_importance_samples)

    # -- generation ----------------------------------------------------------------------------------------------

    def start(self, num_samples: int = 1, seed: int = 0) -> State:
        """The state of `num_samples` sequences before their first step."""
        return generation.start(self, num_samples, seed)

    def warm_up(self) -> None:
        """Packs the weights and compiles what generation needs, so that the first request is not slow."""
        generation.warm_up(self)

    def advance(self, windows: Sequence[Window]) -> list[Advance]:
        """Advance every window's sequences by its steps, all in one parallel pass; see `generation.advance`."""
        return generation.advance(self, windows)

    def scaled(self, state: State, observed: np.ndarray[Any, Any]) -> State:
        """The state with the scale of the whole prefix it is about to observe in windows; see `generation.scaled`."""
        return generation.scaled(self, state, observed)

    def generate(
        self,
        num_samples: int | None = None,
        length: int | None = None,
        seed: int | None = None,
        prefix: Any = None,
        state: State | None = None,
        temperature: float = 1.0,
        output: Output = "sample",
        encode: bool = True,
        num_particles: int = 1,
        max_passes: int | None = None,
    ) -> Generated:
        """Generate `length` steps: from the start, after a `prefix` (steps, size), or resumed from a `state`.

        Returns values (num_samples, length, size) and the state to resume from. `num_samples` and `seed` belong to
        a new sequence (default 1 and 0); a state brings its own. A prefix is observed before generation, also after a
        state's steps. `length` defaults to what is left of the model's own length. Without `encode` the encoder does
        not go over the generated steps, which is faster, but the state then takes no observed steps later.
        With `num_particles` (to 64) each sample draws so many latent paths through the prefix and goes on with one,
        chosen by its importance weight: nearer to p(rest | prefix), for that many times the work on the prefix.
        A decoder that reads earlier values takes several passes (`passes` of the result). `max_passes` stops earlier;
        where they are not enough, the values are approximate, less like the model's, and depend on `length`.
        Raises ValueError (ObservationError, StateError) for what does not fit.
        """
        return generation.generate(
            self, num_samples, length, seed, prefix, state, temperature, output, encode, num_particles, max_passes
        )

    def stream(self, chunk_steps: int = 256, **arguments: Any) -> Iterator[Generated]:
        """`generate` in chunks of `chunk_steps`: the same values as they are made, each resumable."""
        return generation.stream(self, chunk_steps, **arguments)

    def condition(
        self, prefix: Any, num_samples: int = 1, seed: int = 0, state: State | None = None, num_particles: int = 1
    ) -> State:
        """The state after observing `prefix` (steps, size), from the start or after a `state`; see `generate`."""
        return generation.condition(self, prefix, num_samples, seed, state, num_particles)

    # -- description ---------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """Hash of config and weights, 64 hex digits; taken once, so of the weights at that moment."""
        return fingerprint_of(self.config, self.state_dict())

    @property
    def networks(self) -> Networks:
        """What generation runs: packed when first used, and again after a weight was changed in place."""
        if self._packed is None or self._packed[0] != self._versions():
            self._weights = list(self.parameters())
            self._packed = self._versions(), build_networks(self)
        return self._packed[1]

    def _versions(self) -> tuple[object, ...]:
        weight = self.weight
        return weight.device, weight.dtype, sum(map(attrgetter("_version"), self._weights))

    @property
    def weight(self) -> Tensor:
        """One of the weights, for its device and dtype."""
        if self.embed is not None:
            return self.embed.weight
        assert self.past is not None
        return self.past.far.weight

    @property
    def device(self) -> torch.device:
        return self.weight.device

    @property
    def takes_prefix(self) -> Literal["anywhere", "start", "none"]:
        """Where observed steps may come: after any steps, as a whole at the start of a sequence, or never."""
        if not isinstance(self.encoder, Bidirectional):
            return "anywhere"
        encoder = self.config.encoder
        return "start" if encoder is not None and encoder.prefixes else "none"

    @property
    def steps_a_pass(self) -> int:
        """Steps that a pass is sure to make of a decoder that reads earlier values, near + 1; else 1."""
        return 1 if self.past is None else self.past.config.near + 1

    def budget(self, max_passes: int, length: int) -> Budget | None:
        """What keeps `length` steps within `max_passes`; None where nothing needs to. Raises ValueError."""
        if self.past is None:
            raise ValueError("max_passes is for a model whose decoder reads earlier values; this one takes one pass")
        return Budget.of(max_passes, length, self.past.config.near)

    @property
    def max_particles(self) -> int:
        """The largest `num_particles`; 1 where paths of this kind of model cannot be weighed."""
        if self.past is not None:  # without levels conditioning is exact, with them their weights are not computed yet
            return 1
        return MAX_PARTICLES if weights.possible(self.observation, [v.latent for v in self.levels]) else 1

    def check_observed(self, values: Any) -> np.ndarray[Any, Any]:
        """Observed values as an array (steps, size); raises ObservationError saying what is allowed."""
        return self.observation.check(values)

    def info(self) -> dict[str, Any]:
        """What an interface needs to know of this model, as JSON-able values."""
        config = self.config
        return {
            "fingerprint": self.fingerprint,
            "description": config.description,
            "parameters": sum(p.numel() for p in self.parameters()),
            "length": config.length,
            "size": config.size,
            "observation": self.observation.describe(),
            "modality": config.modality,
            "image": config.image.model_dump() if config.image else None,
            "encoder": "none" if config.encoder is None else config.encoder.kind,
            "takes_prefix": self.takes_prefix,
            "max_particles": self.max_particles,
            "steps_a_pass": None if self.past is None else self.steps_a_pass,
            "state_bytes": self.start().tensor_bytes,
            "max_temperature": MAX_TEMPERATURE,
        }
