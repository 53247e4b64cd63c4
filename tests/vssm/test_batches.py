"""Batches are a pure function of the seed and the step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vssm.batches import as_sequences, binarise, derive_seed, generator
from vssm.examples import ImageBatches


def test_a_batch_depends_on_seed_and_step_only() -> None:
    grey = torch.randint(0, 256, (50, 4, 3), dtype=torch.uint8, generator=generator(0, "test"))
    forwards = [ImageBatches(grey, 8, 3, bits=True).batch(step) for step in range(20)]
    again = ImageBatches(grey, 8, 3, bits=True)
    for step in reversed(range(20)):
        assert torch.equal(again.batch(step), forwards[step])
    assert not torch.equal(forwards[0], forwards[1])
    assert not torch.equal(forwards[0], ImageBatches(grey, 8, 4, bits=True).batch(0))


def test_every_epoch_shows_each_example_once_in_its_own_order() -> None:
    names = torch.eye(12, dtype=torch.uint8)[:, None] * 255  # example i is one-hot i, so binarising changes nothing
    batches = ImageBatches(names, 4, 0, bits=True)
    epochs = [
        torch.cat([batches.batch(3 * epoch + k) for k in range(3)]).argmax(-1).flatten().tolist() for epoch in range(3)
    ]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_too_large_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 5 is larger than the 4"):
        ImageBatches(torch.zeros(4, 1, 1, dtype=torch.uint8), 5, 0, bits=True)


def test_binarised_values_have_the_grey_values_as_means() -> None:
    grey = torch.tensor([0, 51, 204, 255], dtype=torch.uint8).expand(20000, 4)
    x = binarise(grey, generator(0, "test"))
    assert set(x.flatten().tolist()) == {0.0, 1.0}
    means = x.mean(0)
    assert means[0] == 0
    assert means[3] == 1
    assert means[1:3].tolist() == pytest.approx([0.2, 0.8], abs=0.015)  # five standard errors


def test_images_are_cut_row_by_row() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert as_sequences(images, 3, 4).tolist() == images.tolist()
    assert as_sequences(images, 12, 1)[1].flatten().tolist() == list(range(12, 24))
    with pytest.raises(ValueError, match="3x4 have 12 values, the model has length 4 x size 4 = 16"):
        as_sequences(images, 4, 4)


def test_derived_seeds_differ_by_everything() -> None:
    seeds = {derive_seed(a, b, c) for a in range(3) for b in ("x", "y") for c in range(100)}
    assert len(seeds) == 600
    assert all(0 <= seed < 2**63 for seed in seeds)
