"""Weights of latent paths, in bits that depend on nothing but the path: what chooses among the particles of a prefix.

    log w = sum_t [ log p(x_t | z_{1..t}) - sum_k (log q(z_t) - log p(z_t)) ]      t over the prefix, k over the levels

The terms are those of `Observation.log_prob` and `Draw.log_ratio` (importance weights, see `VSSM.log_weight`), but in
float64 from exactly rounded operations only: libraries' exp, log and sums may round differently with the company a row
has. Sums are taken in halves, of a fixed shape. Any device; without gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import singledispatch

import torch
from torch import Tensor

from vssm.exact import exact_exp
from vssm.flow import LOG_SCALE_LIMIT
from vssm.latents import CategoricalLatent, GaussianLatent, Latent
from vssm.noise import exact_log
from vssm.observations import Observation
from vssm.observations.bernoulli import BernoulliObservation
from vssm.observations.categorical import CategoricalObservation
from vssm.observations.gaussian import GaussianObservation
from vssm.observations.student_t import StudentTObservation

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def exact_sum(x: Tensor) -> Tensor:
    """The sum over the last dimension, its upper half added to its lower one until one number is left."""
    while (size := x.shape[-1]) > 1:
        half = (size + 1) // 2
        x = torch.cat([x[..., : size - half] + x[..., half:], x[..., size - half : half]], dim=-1)
    return x[..., 0] if x.shape[-1] else x.new_zeros(x.shape[:-1])


def log_softmax(logits: Tensor) -> Tensor:
    """Over the last dimension, float64; the largest sum is that of 65536 classes, so exp never meets its limits."""
    shifted = logits - logits.max(-1, keepdim=True).values
    return shifted - exact_log(exact_sum(exact_exp(shifted)))[..., None]


def possible(observation: Observation, latents: Sequence[Latent]) -> bool:
    """Whether paths of these can be weighed: not yet those of pixel mixtures and of coupling-flow priors."""
    known = log_prob.dispatch(type(observation)) is not log_prob.dispatch(object)
    return known and not any(isinstance(latent, GaussianLatent) and latent.flow is not None for latent in latents)


# -- log p(x_t | z_{1..t}) ----------------------------------------------------------------------------------------


@singledispatch
def log_prob(observation: Observation, params: Tensor, x: Tensor) -> Tensor:
    """`observation.log_prob(params, x)` as float64 (B, T), of the kinds that are `possible`."""
    raise NotImplementedError(type(observation))


@log_prob.register
def _(observation: BernoulliObservation, params: Tensor, x: Tensor) -> Tensor:
    """log sigma(l) = min(l, 0) - log(1 + exp(-|l|)) of l with the sign of x."""
    logits = params[..., 0].double()
    signed = torch.where(x > 0, logits, -logits)
    return exact_sum(signed.clamp(max=0.0) - exact_log(1.0 + exact_exp(-signed.abs())))


@log_prob.register
def _(observation: CategoricalObservation, params: Tensor, x: Tensor) -> Tensor:
    return exact_sum(log_softmax(params.double()).gather(-1, x[..., None].long())[..., 0])


@log_prob.register
def _(observation: GaussianObservation, params: Tensor, x: Tensor) -> Tensor:
    log_scale = observation.log_scale.double()
    standard = (x.double() - params[..., 0].double()) * exact_exp(-log_scale)
    return -exact_sum(0.5 * standard * standard + log_scale + _HALF_LOG_2PI)


@log_prob.register
def _(observation: StudentTObservation, params: Tensor, x: Tensor) -> Tensor:
    """The constant of each channel is the same for all rows."""
    location, log_scale = params.double().unbind(-1)
    log_scale = log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
    nu = observation.degrees_of_freedom().double()
    standard = (x.double() - location) * exact_exp(-log_scale)
    half = 0.5 * (nu + 1.0)
    constant = torch.lgamma(half) - torch.lgamma(0.5 * nu) - 0.5 * torch.log(math.pi * nu)
    return exact_sum(constant - log_scale - half * exact_log(1.0 + standard * standard / nu))


# -- log q(z_t) - log p(z_t) --------------------------------------------------------------------------------------


@singledispatch
def log_ratio(latent: Latent, z: Tensor, noise: Tensor, posterior: Tensor, prior: Tensor | None) -> Tensor:
    """`Draw.log_ratio` of z (B, T, Z), which `noise` made, from its distributions' parameters: float64 (B, T)."""
    raise NotImplementedError(type(latent))


@log_ratio.register
def _(latent: GaussianLatent, z: Tensor, noise: Tensor, posterior: Tensor, prior: Tensor | None) -> Tensor:
    eps, draw = noise.double(), z.double()
    log_scale = _moments(posterior)[1]
    if prior is None:
        return exact_sum(0.5 * (draw * draw - eps * eps) - log_scale)
    mean, prior_log_scale = _moments(prior)
    standard = (draw - mean) * exact_exp(-prior_log_scale)
    return exact_sum(prior_log_scale - log_scale + 0.5 * (standard * standard - eps * eps))


@log_ratio.register
def _(latent: CategoricalLatent, z: Tensor, noise: Tensor, posterior: Tensor, prior: Tensor | None) -> Tensor:
    grouped = (*z.shape[:-1], latent.groups, latent.classes)
    log_q = log_softmax(posterior.double().reshape(grouped)) * z.double().reshape(grouped)
    return exact_sum(exact_sum(log_q)) + latent.groups * math.log(latent.classes)


def _moments(params: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_scale = params.double().chunk(2, dim=-1)
    return mean, log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
