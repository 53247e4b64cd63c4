"""The CUDA recurrence: the bits of the CPU's, at any cut and in any batch; its gradient."""

import pytest
import torch
from torch import Tensor

from vssm import linear_recurrence
from vssm.cuda.recurrence import STEPS, planar_recurrence, recurrence

CASES = [(torch.float32, False), (torch.float32, True), (torch.complex64, False), (torch.complex64, True)]
cases = pytest.mark.parametrize(("dtype", "gated"), CASES)


def problem(dtype: torch.dtype, gated: bool, batch: int, steps: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(steps)
    shape = (batch, steps, channels)
    a = torch.randn(shape if gated else shape[2:], dtype=dtype, generator=generator)
    b, h0 = (torch.randn(s, dtype=dtype, generator=generator) for s in (shape, (batch, channels)))
    return a / (1.0 + a.abs()), b, h0


@cases
@pytest.mark.parametrize("shape", [(2, 1, 3), (1, STEPS, 40), (2, 2 * STEPS + 5, 33)])
def test_the_bits_are_those_of_the_cpu(
    dtype: torch.dtype, gated: bool, shape: tuple[int, int, int], device: torch.device
) -> None:
    inputs = problem(dtype, gated, *shape)
    expected, _ = linear_recurrence(*inputs)
    assert torch.equal(recurrence(*(t.to(device) for t in inputs)).cpu(), expected)


@cases
def test_a_cut_and_a_batch_change_no_bit(dtype: torch.dtype, gated: bool, device: torch.device) -> None:
    a, b, h0 = (t.to(device) for t in problem(dtype, gated, 3, 40, 5))
    whole = recurrence(a, b, h0)
    for cut in (1, STEPS, 23):
        first, second = (a[:2, :cut], a[:2, cut:]) if gated else (a, a)
        head = recurrence(first, b[:2, :cut], h0[:2])
        tail = recurrence(second, b[:2, cut:], head[:, -1])
        assert torch.equal(torch.cat([head, tail], 1), whole[:2])


@cases
def test_gradients_are_those_of_the_cpu(dtype: torch.dtype, gated: bool, device: torch.device) -> None:
    inputs = problem(dtype, gated, 2, STEPS + 3, 4)
    weight = problem(dtype, True, 2, STEPS + 3, 4)[1]
    gradients = []
    for place, run in ((torch.device("cpu"), lambda *x: linear_recurrence(*x)[0]), (device, recurrence)):
        moved = [t.detach().to(place).requires_grad_() for t in inputs]
        loss = (run(*moved) * weight.to(place)).sum().abs()
        gradients.append([g.cpu() for g in torch.autograd.grad(loss, moved)])
    for found, expected in zip(gradients[1], gradients[0], strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_planar_gives_the_same_states_and_those_asked_for(device: torch.device) -> None:
    a, b, h0 = problem(torch.complex64, False, 3, STEPS + 4, 5)
    expected, _ = linear_recurrence(a, b, h0)
    last = torch.tensor([0, STEPS + 3, 7])
    before = torch.view_as_real(h0).flatten(1)
    stacked = torch.stack([before, torch.zeros_like(before)], 1).to(device)  # rows of a state of two layers
    end = torch.zeros_like(stacked)
    u = torch.cat([b.real, b.imag], -1).to(device)
    h = planar_recurrence(a.to(device), u, stacked[:, 0], last.to(device), end[:, 1]).cpu()
    assert torch.equal(h, torch.cat([expected.real, expected.imag], -1))
    assert torch.equal(end[:, 1].cpu(), torch.view_as_real(expected[torch.arange(3), last]).flatten(1))
    assert not end[:, 0].any()
