"""How probable the rest of a sequence is after its prefix: the figure that tells conditional generation's quality.

    x = (x_1..c, x_c+1..T)   prefix and rest         u, v   latents of the prefix and of the rest, all levels
    r(u | x_1..c)            how generation draws u: from the encoder, or one of `num_particles` paths by their weights
    g(rest | prefix)         E_r(u | prefix) p(rest | u): the distribution that generation really has

g is a distribution over the rest like that of an autoregressive rival, so -log g (lower is better) can be set beside
the rival's exact conditional negative log-likelihood. It is not -log p(rest | prefix) of the model itself, which g
only reaches when r is the exact posterior: what a poor encoder costs is part of the figure.

With u_s from r and v_s from the encoder q(v | u_s, x), which may see the rest,

    w_s = p(rest | u_s, v_s) p(v_s | u_s) / q(v_s | u_s, x)        E w_s = g(rest | prefix)
    bound = log (1/S sum_s w_s)                                    E bound <= log g(rest | prefix), by Jensen

The mean of w_s is g exactly, for any number of particles, since only the distribution of the chosen u_s enters. So the
bound is a stochastic lower one that rises to log g as S grows (Burda et al., 2016). The weights of u, which would
change g into p(rest | prefix), are left out on purpose.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vssm.model import VSSM
from vssm.particles import check_count

if TYPE_CHECKING:
    from vssm.baselines.rival import Rival

_STEPS_AT_ONCE = 1 << 17  # sequences x steps in one pass


@torch.no_grad()
def conditional_bound(
    model: VSSM,
    x: Tensor,
    cut: int,
    *,
    num_paths: int = 64,
    num_particles: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A stochastic lower bound (B,) in nats on log g(x_cut+1..T | x_1..cut) of x (B, T, size), from `num_paths` paths.

    Its noise comes from torch, not from counters: the distributions are those of generation, the bits are not.
    Raises ValueError for a cut that leaves no prefix or no rest, or a model that takes no prefix.
    """
    _check_cut(x, cut)
    check_count(num_particles)
    if num_paths < 1:
        raise ValueError(f"num_paths must be at least 1, not {num_paths}")
    if model.takes_prefix == "none":
        raise ValueError("this model takes no prefix: its encoder is bidirectional, for whole sequences")
    at_once = max(1, _STEPS_AT_ONCE // (x.shape[0] * x.shape[1] * num_particles))
    weights = []
    for done in range(0, num_paths, at_once):
        copies = x.repeat(min(at_once, num_paths - done), 1, 1)
        noise = _prefix_noise(model, copies[:, :cut], num_particles, generator)
        weights.append(_rest_weight(model, copies, cut, noise, generator).view(-1, x.shape[0]))
    return torch.logsumexp(torch.cat(weights).double(), dim=0) - math.log(num_paths)


@torch.no_grad()
def conditional_log_likelihood(model: Rival, x: Tensor, cut: int) -> Tensor:
    """The exact log p(x_cut+1..T | x_1..cut) (B,) in nats of an autoregressive model."""
    _check_cut(x, cut)
    return model.log_prob(x)[:, cut:].double().sum(1)


def _check_cut(x: Tensor, cut: int) -> None:
    if not 1 <= cut < x.shape[1]:
        raise ValueError(f"cut must be from 1 to {x.shape[1] - 1}, so that there is a prefix and a rest, not {cut}")


def _prefix_noise(model: VSSM, prefix: Tensor, count: int, generator: torch.Generator | None) -> list[Tensor]:
    """The noise (B, c, Z) of every level that makes u ~ r(u | prefix), for each row of prefix (B, c, size)."""
    if count == 1:
        return model.draw_noise(prefix, generator)
    copies = prefix.repeat_interleave(count, dim=0)
    noise = model.draw_noise(copies, generator)
    weight = model.log_weight(copies, noise).double().view(-1, count)
    chosen = torch.multinomial(weight.softmax(1), 1, generator=generator)[:, 0]
    rows = chosen + count * torch.arange(len(prefix), device=prefix.device)
    return [level[rows] for level in noise]


def _rest_weight(
    model: VSSM, x: Tensor, cut: int, prefix_noise: list[Tensor], generator: torch.Generator | None
) -> Tensor:
    """log w (B,) of one v for each row of x (B, T, size), whose u `prefix_noise` makes."""
    rest_noise = model.draw_noise(x[:, cut:], generator)
    noise = [torch.cat(parts, dim=1) for parts in zip(prefix_noise, rest_noise, strict=True)]
    seen = model.posterior_features(x[:, :cut], prefix_noise)  # what the prefix alone says
    e = torch.cat([seen, model.posterior_features(x, noise)[:, cut:]], dim=1)
    draws, d = model.infer_from(e, noise)
    log_prob = model.observation.log_prob(model.observation.params(d), x)
    return (log_prob - torch.stack([draw.log_ratio for draw in draws]).sum(0))[:, cut:].sum(1)
