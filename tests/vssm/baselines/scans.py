"""Inputs of selective scans, and what a scan and its gradients make of them."""

from collections.abc import Callable

import torch
from torch import Tensor

Scan = Callable[..., tuple[Tensor, Tensor]]


def inputs(batch: int, steps: int, states: int, channels: int) -> list[Tensor]:
    """dt, A, B, C, x, h in float32, gates from almost 0 to almost 1."""
    random = torch.Generator().manual_seed(steps)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    dt, A = torch.exp(2 * draw(batch, steps, channels) - 1), -torch.exp(2 * draw(states, channels))
    B, C, x = draw(batch, steps, states), draw(batch, steps, states), draw(batch, steps, channels)
    return [dt, A, B, C, x, draw(batch, states, channels)]


def values_and_gradients(function: Scan, chosen: list[Tensor]) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in chosen]
    y, last = function(*leaves)
    random = torch.Generator().manual_seed(1)
    drawn = [torch.randn(out.shape, generator=random, dtype=torch.float64) for out in (y, last)]
    weights = [weight.to(out) for weight, out in zip(drawn, (y, last), strict=True)]
    total = (y * weights[0]).sum() + (last * weights[1]).sum()
    return [y.detach(), last.detach(), *torch.autograd.grad(total, leaves)]
