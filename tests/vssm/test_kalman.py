"""Exact mathematics: a linear-Gaussian VSSM has a likelihood in closed form, from a Kalman filter.

s_t = A s_{t-1} + G z_t          z_t ~ N(0, I)           s: real and imaginary parts of the layer's h
x_t = H s_t + E z_t + c + v_t    v_t ~ N(0, R)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.nn import Linear

from tests.vssm.models import build
from vssm import VSSM
from vssm.latents import Draw

LEVEL = {"kind": "gaussian", "size": 1, "layers": 1}
STEPS = 6


def linear_model(seed: int) -> VSSM:
    decoder = {"width": 3, "state": 2, "linear": True}
    model = build("series", seed, levels=[LEVEL], decoder=decoder).double()
    log_scale(model).fill_(0.7)  # posterior wide enough to be sampled well
    return model


def log_scale(model: VSSM) -> Tensor:
    scale = model.observation.log_scale
    assert isinstance(scale, Tensor)
    return scale


class StateSpace:
    """The model's matrices, read off its weights (and checked against its decoder below)."""

    def __init__(self, model: VSSM) -> None:
        level = model.levels[0]
        ssm, head = level.stack.blocks[0].ssm, model.observation.head
        gates, scales = ssm.gates()
        a, scale = gates.numpy(), scales.numpy()
        n = len(a)
        self.A = np.zeros((2 * n, 2 * n))
        for k in range(n):
            re, im = a[k].real, a[k].imag
            self.A[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[re, -im], [im, re]]
        assert isinstance(head, Linear)
        head_weight, head_bias = head.weight.numpy(), head.bias.numpy()
        w, w0 = level.inject.weight.numpy(), level.inject.bias.numpy()
        b = ssm.input.weight.numpy() * scale[:, None]
        through = np.eye(len(w)) + np.diag(ssm.skip.numpy())  # block: u + SSM(u)
        self.G, self.g0 = b @ w, b @ w0
        self.H = head_weight @ ssm.output.weight.numpy()
        self.E = head_weight @ through @ w
        self.c = head_weight @ (through @ w0 + ssm.output.bias.numpy()) + head_bias
        self.R = np.diag(np.exp(2 * log_scale(model).numpy()))


def kalman_log_likelihood(m: StateSpace, x: NDArray[np.float64]) -> float:
    """log p(x_{1..T}) by the innovations of a Kalman filter whose state also carries z_t."""
    n, z = m.G.shape
    F = np.block([[m.A, np.zeros((n, z))], [np.zeros((z, n + z))]])
    L = np.vstack([m.G, np.eye(z)])
    H = np.hstack([m.H, m.E])
    mean, cov, total = np.zeros(n + z), np.zeros((n + z, n + z)), 0.0
    for x_t in x:
        mean, cov = F @ mean + np.concatenate([m.g0, np.zeros(z)]), F @ cov @ F.T + L @ L.T
        innovation, S = x_t - H @ mean - m.c, H @ cov @ H.T + m.R
        total -= 0.5 * (innovation @ np.linalg.solve(S, innovation) + np.linalg.slogdet(2 * np.pi * S)[1])
        gain = cov @ H.T @ np.linalg.inv(S)
        mean, cov = mean + gain @ innovation, cov - gain @ H @ cov
    return total


def exact_posterior(model: VSSM, x: Tensor, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Mean (B, T) and Cholesky factor (T, T) of the Gaussian p(z_{1..T} | x_{1..T}), by dense linear algebra."""
    flat = model.decode([torch.eye(steps, dtype=torch.float64)[:, :, None]])[..., 0].flatten(1)  # (T, T * size)
    base = model.decode([torch.zeros(1, steps, 1, dtype=torch.float64)])[..., 0].flatten(1)
    matrix = (flat - base).T
    noise = torch.exp(-2 * log_scale(model)).repeat(steps)
    precision = torch.eye(steps, dtype=torch.float64) + matrix.T @ (noise[:, None] * matrix)
    covariance = torch.linalg.inv(precision)
    mean = (x[:, :steps].flatten(1) - base) @ (noise[:, None] * matrix) @ covariance
    return mean, torch.linalg.cholesky(covariance)


class ExactEncoder(VSSM):
    """The same model with the exact posterior q(z_t | z_{<t}, x) for an encoder, driven by the same base noise."""

    def posterior_features(self, x: Tensor, noise: Sequence[Tensor]) -> Tensor:
        mean, factor = exact_posterior(self, x, x.shape[1])
        below = torch.tril(factor, -1)
        conditional = mean + noise[0][..., 0] @ below.T  # E[z_t | z_{<t}, x]
        return torch.stack([conditional, torch.log(torch.diagonal(factor)).expand_as(mean)], dim=-1)

    def _posterior(self, k: int, e: Tensor, d: Tensor | None, noise: Sequence[Tensor]) -> Draw:
        mean, log_scale = e[..., :1], e[..., 1:]
        z = mean + log_scale.exp() * noise[k]
        kl = -log_scale + 0.5 * (torch.exp(2 * log_scale) + mean**2 - 1)
        ratio = -log_scale + 0.5 * (z**2 - noise[k] ** 2)
        return Draw(z, kl.sum(-1), ratio.sum(-1))


def data(model: VSSM, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(batch, STEPS, 1, dtype=torch.float64, generator=generator)
    mean = model.decode([z])[..., 0]
    return mean + torch.exp(log_scale(model)) * torch.randn(mean.shape, dtype=torch.float64, generator=generator)


def exact(model: VSSM, x: Tensor) -> Tensor:
    space = StateSpace(model)
    return torch.tensor([kalman_log_likelihood(space, row.numpy()) for row in x])


@pytest.mark.parametrize("seed", range(3))
def test_kalman_filter_agrees_with_the_joint_gaussian(seed: int) -> None:
    """Guards the reference itself: the filter's likelihood is the density of the joint normal of the decoder."""
    model = linear_model(seed)
    x = data(model, 3)
    flat = model.decode([torch.eye(STEPS, dtype=torch.float64)[:, :, None]])[..., 0].flatten(1)
    base = model.decode([torch.zeros(1, STEPS, 1, dtype=torch.float64)])[..., 0].flatten(1)
    matrix = (flat - base).T
    covariance = matrix @ matrix.T + torch.diag(torch.exp(2 * log_scale(model)).repeat(STEPS))
    joint = torch.from_numpy(
        stats.multivariate_normal(base[0].numpy(), covariance.numpy()).logpdf(x.flatten(1).numpy())
    )
    assert torch.allclose(exact(model, x), joint, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_bound_lies_below_the_exact_likelihood_and_converges_to_it(seed: int) -> None:
    model = linear_model(seed)
    x = data(model, 8)
    truth = exact(model, x)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([model.elbo(x, generator).nats for _ in range(100)])
    error = draws.std(0) / 10
    assert (draws.mean(0) < truth + 4 * error).all()
    assert draws.mean() < truth.mean() - 0.01
    few, many = (model.log_likelihood(x, k, generator) for k in (10, 10_000))
    assert (truth - many).abs().mean() < 0.05
    assert (truth - many).abs().mean() < 0.5 * (truth - few).abs().mean()


@pytest.mark.parametrize("seed", range(3))
def test_with_the_exact_posterior_the_bound_is_the_likelihood(seed: int) -> None:
    model = linear_model(seed)
    twin = ExactEncoder(model.config).double()
    twin.load_state_dict(model.state_dict())
    twin.requires_grad_(False)
    x = data(model, 8)
    truth = exact(model, x)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):  # every single draw has the same weight, p(x)
        assert torch.allclose(twin.log_weight(x, twin.draw_noise(x, generator)), truth, atol=1e-9)
    draws = torch.stack([twin.elbo(x, generator).nats for _ in range(500)])
    assert ((draws.mean(0) - truth).abs() < 5 * draws.std(0) / 500**0.5 + 1e-9).all()
