"""One level of latents z_t: its prior, its posterior, drawing from either, and the divergence between them.

    e  encoder features   (B, T, E)
    d  decoder features   (B, T, D) of the level below; None at the lowest level
    z  latents            (B, T, Z)

Base noise (normal or Gumbel) is given from outside, so that drawing is a deterministic function: at training time it
comes from a torch generator, at generation time it is counter-based.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vssm import config
from vssm.exact import exact_exp
from vssm.flow import Flow, given, moments
from vssm.noise import Kind
from vssm.ssm import MLP


@dataclass(frozen=True)
class Draw:
    """z (B, T, Z) with, where a posterior made it, KL(q || p) and log q(z) - log p(z), both (B, T) in nats.

    Under a flow the KL has no closed form: it is the log ratio, whose mean it is.
    """

    z: Tensor
    kl: Tensor
    log_ratio: Tensor


class Latent(nn.Module, ABC):
    """p(z_t | d) and q(z_t | e, d) of one level."""

    size: int
    noise_kind: Kind
    posterior_net: nn.Module
    prior_net: nn.Module | None  # None: the prior is fixed

    @abstractmethod
    def prior(self, d: Tensor | None, noise: Tensor) -> Tensor:
        """z from the prior and base noise (B, T, Z)."""

    @abstractmethod
    def posterior(self, e: Tensor, d: Tensor | None, noise: Tensor) -> Draw:
        """z from the posterior and base noise (B, T, Z)."""

    @abstractmethod
    def draw_noise(self, shape: tuple[int, int], like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Base noise for training, (B, T, Z)."""


class GaussianLatent(Latent):
    """Diagonal Gaussians; the lowest level's prior is N(0, I). With couplings, a flow of either."""

    noise_kind: Kind = "normal"

    def __init__(self, level: config.GaussianLevel, encoder_width: int, decoder_width: int, lowest: bool) -> None:
        super().__init__()
        size = self.size = level.size
        below = 0 if lowest else decoder_width
        self.posterior_net = MLP(encoder_width + below, encoder_width, 2 * size, gain=0.1)
        self.prior_net = None if lowest else MLP(decoder_width, decoder_width // 2, 2 * size, gain=0.1)
        self.flow = Flow(size, level.couplings, below, decoder_width // 2) if level.couplings else None

    def prior(self, d: Tensor | None, noise: Tensor) -> Tensor:
        base = noise if self.flow is None else self.flow(noise, d)
        if self.prior_net is None or d is None:
            return base
        mean, log_scale = moments(self.prior_net(d))
        return mean + exact_exp(log_scale) * base

    def posterior(self, e: Tensor, d: Tensor | None, noise: Tensor) -> Draw:
        mean, log_scale = moments(self.posterior_net(given(e, d)))
        scale = exact_exp(log_scale)
        z = mean + scale * noise
        if self.prior_net is None or d is None:
            prior_mean = prior_log_scale = torch.zeros_like(mean)
        else:
            prior_mean, prior_log_scale = moments(self.prior_net(d))
        if self.flow is not None:
            base, log_scales = self.flow.inverse((z - prior_mean) * exact_exp(-prior_log_scale), d)
            log_ratio = prior_log_scale - log_scale + 0.5 * (base * base - noise * noise)
            one_draw = log_ratio.sum(-1) + log_scales
            return Draw(z, one_draw, one_draw)
        precision = exact_exp(-2.0 * prior_log_scale)
        ratio = prior_log_scale - log_scale
        kl = ratio + 0.5 * (precision * (scale * scale + (mean - prior_mean) ** 2) - 1.0)
        log_ratio = ratio + 0.5 * (precision * (z - prior_mean) ** 2 - noise * noise)
        return Draw(z, kl.sum(-1), log_ratio.sum(-1))

    def draw_noise(self, shape: tuple[int, int], like: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.randn(*shape, self.size, generator=generator, dtype=like.dtype, device=like.device)


class CategoricalLatent(Latent):
    """Groups of one-hot latents under a uniform prior; straight-through Gumbel-softmax (Lambrechts et al., 2024)."""

    noise_kind: Kind = "gumbel"

    def __init__(self, level: config.CategoricalLevel, encoder_width: int, decoder_width: int, lowest: bool) -> None:
        super().__init__()
        self.groups, self.classes, self.relaxation = level.groups, level.classes, level.relaxation
        self.size = level.groups * level.classes
        below = 0 if lowest else decoder_width
        self.posterior_net = MLP(encoder_width + below, encoder_width, self.size, gain=0.1)
        self.prior_net = None

    def prior(self, d: Tensor | None, noise: Tensor) -> Tensor:
        return self._one_hot(self._grouped(noise))

    def posterior(self, e: Tensor, d: Tensor | None, noise: Tensor) -> Draw:
        logits = self._grouped(self.posterior_net(given(e, d)))  # (B, T, G, C)
        score = logits + self._grouped(noise)
        hard = self._one_hot(score)
        log_q = F.log_softmax(logits, dim=-1)
        uniform = math.log(self.classes)
        kl = (log_q.exp() * (log_q + uniform)).sum((-2, -1))
        log_ratio = (self._grouped(hard) * log_q).sum((-2, -1)) + uniform * self.groups
        if not torch.is_grad_enabled():
            return Draw(hard, kl, log_ratio)
        soft = F.softmax(score / self.relaxation, dim=-1).flatten(-2)
        return Draw(hard + soft - soft.detach(), kl, log_ratio)

    def choose(self, logits: Tensor, noise: Tensor) -> Tensor:
        """One-hot z (B, T, Z) from flat logits and Gumbel noise, both (B, T, Z)."""
        return self._one_hot(self._grouped(logits) + self._grouped(noise))

    def draw_noise(self, shape: tuple[int, int], like: Tensor, generator: torch.Generator | None) -> Tensor:
        u = torch.rand(*shape, self.size, generator=generator, dtype=torch.float64, device=like.device)
        return -torch.log(-torch.log(u.clamp(1e-12, 1.0 - 1e-12))).to(like.dtype)

    def _grouped(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.groups, self.classes)

    def _one_hot(self, score: Tensor) -> Tensor:
        return F.one_hot(score.argmax(-1), self.classes).to(score.dtype).flatten(-2)


def build_latent(level: config.Level, encoder_width: int, decoder_width: int, lowest: bool) -> Latent:
    """The latent level that a config asks for."""
    match level:
        case config.GaussianLevel():
            return GaussianLatent(level, encoder_width, decoder_width, lowest)
        case config.CategoricalLevel():
            return CategoricalLatent(level, encoder_width, decoder_width, lowest)
