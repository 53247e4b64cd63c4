"""The selective scan on CUDA and its gradients are those of the reference."""

from __future__ import annotations

import pytest
import torch

from tests.vssm.baselines.scans import inputs, values_and_gradients
from vssm.baselines.mamba import scan
from vssm.cuda.selective_scan import selective_scan


@pytest.mark.parametrize(("batch", "steps", "states", "channels"), [(1, 1, 1, 1), (2, 9, 3, 33), (2, 5, 16, 64)])
def test_it_is_the_reference_and_so_are_its_gradients(
    batch: int, steps: int, states: int, channels: int, device: torch.device
) -> None:
    chosen = inputs(batch, steps, states, channels)
    exact = values_and_gradients(scan, [value.double() for value in chosen])
    found = values_and_gradients(selective_scan, [value.to(device) for value in chosen])
    for value, expected in zip(found, exact, strict=True):
        assert (value.cpu() - expected).abs().max() <= 5e-6 * expected.abs().max() + 1e-6


def test_a_cut_goes_on_with_the_same_bits(device: torch.device) -> None:
    dt, A, B, C, x, h = (value.to(device) for value in inputs(2, 11, 4, 7))
    whole, last = selective_scan(dt, A, B, C, x, h)
    first, between = selective_scan(dt[:, :4], A, B[:, :4], C[:, :4], x[:, :4], h)
    rest, end = selective_scan(dt[:, 4:], A, B[:, 4:], C[:, 4:], x[:, 4:], between)
    assert torch.equal(torch.cat([first, rest], 1), whole)
    assert torch.equal(end, last)
