"""Noise of the CUDA kernel: the bits of the reference."""

import pytest
import torch

from vssm.cuda.noise import draw
from vssm.noise import MAX_SEED, Counters, Kind, draw_reference


@pytest.mark.parametrize("kind", ["word", "normal", "logistic", "gumbel"])
@pytest.mark.parametrize(("steps", "width"), [(1, 1), (7, 5), (60, 16)])
def test_the_bits_are_those_of_the_reference(kind: Kind, steps: int, width: int, device: torch.device) -> None:
    counters = Counters(
        seed=torch.tensor([0, MAX_SEED, 2**32 + 5]),
        sample=torch.tensor([0, 2**32 - 2, 7]),
        position=torch.tensor([0, 2**32 - 3, 2**47]),
    )
    moved = Counters(*(t.to(device) for t in (counters.seed, counters.sample, counters.position)))
    assert torch.equal(draw(moved, kind, 35, steps, width).cpu(), draw_reference(counters, kind, 35, steps, width))


def test_nothing_to_draw(device: torch.device) -> None:
    none = torch.zeros(0, dtype=torch.int64, device=device)
    assert draw(Counters(none, none, none), "normal", 0, 3, 4).shape == (0, 3, 4)
