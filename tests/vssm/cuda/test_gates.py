"""The nonlinearities of training on CUDA: values and gradients of the formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vssm.cuda import gates as kernels
from vssm.gates import activate_reference, glu_reference

Gate = Callable[[Tensor], Tensor]


@pytest.mark.parametrize("shape", [(1, 2), (3, 5, 34), (2, 700, 6)])
@pytest.mark.parametrize(("fast", "slow"), [(kernels.activate, activate_reference), (kernels.glu, glu_reference)])
def test_values_and_gradients_are_those_of_the_formula(
    fast: Gate, slow: Gate, shape: tuple[int, ...], device: torch.device
) -> None:
    x = 3.0 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x[..., 0] *= 10.0
    found, exact = x.clone().to(device).requires_grad_(), x.double().requires_grad_()
    weight = torch.randn(slow(x).shape, generator=torch.Generator().manual_seed(1))
    values, expected = fast(found), slow(exact)
    torch.autograd.backward((values * weight.to(device)).sum())
    torch.autograd.backward((expected * weight).sum())
    assert torch.allclose(values.cpu().double(), expected, rtol=1e-4, atol=1e-5)
    assert found.grad is not None
    assert exact.grad is not None
    assert torch.allclose(found.grad.cpu().double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_what_is_strided_and_what_is_empty(device: torch.device) -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(device)
    assert torch.allclose(kernels.glu(x.t()), glu_reference(x.t()), atol=1e-6)
    assert kernels.activate(x[:0]).shape == (0, 4)
