"""Batches of binarised images. What is in a batch is a pure function of the seed and the step.

That is why an interrupted training can go on anywhere: there is no random state to restore. Nothing here
knows about models; images go in, sequences of shape (batch, length, size) come out.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def derive_seed(seed: int, purpose: str, number: int = 0) -> int:
    """Return a seed in 0..2^63-1 for one purpose and number; different ones are unrelated."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, number: int = 0, device: str = "cpu") -> torch.Generator:
    """Return a generator seeded for one purpose and number."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, number))


def as_sequences(images: NDArray[np.uint8], length: int, size: int) -> Tensor:
    """Cut images (n, ...) row by row into sequences, uint8 (n, length, size).

    Raises: ValueError when an image has not length x size values.
    """
    values = int(np.prod(images.shape[1:]))
    if values != length * size:
        raise ValueError(
            f"images of {'x'.join(map(str, images.shape[1:]))} have {values} values, "
            f"the model has length {length} x size {size} = {length * size}"
        )
    return torch.tensor(images).view(len(images), length, size)


def binarise(grey: Tensor, random: torch.Generator) -> Tensor:
    """Draw each value as 1 with probability grey / 255: uint8 of any shape -> float32 zeros and ones."""
    return (torch.rand(grey.shape, generator=random) * 255 < grey).float()


class Batches:
    """Training batches: every epoch in its own order, binarised anew each time (dynamic binarisation)."""

    def __init__(self, sequences: Tensor, batch_size: int, seed: int) -> None:
        if batch_size > len(sequences):
            raise ValueError(f"batch_size {batch_size} is larger than the {len(sequences)} training examples")
        self.steps_per_epoch = len(sequences) // batch_size
        self._sequences, self._batch_size, self._seed = sequences, batch_size, seed
        self._order = torch.empty(0, dtype=torch.int64)
        self._epoch = -1

    def batch(self, step: int) -> Tensor:
        """Return the batch of a step: float32 (batch, length, size) of zeros and ones."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            random = generator(self._seed, "order", epoch)
            self._order, self._epoch = torch.randperm(len(self._sequences), generator=random), epoch
        chosen = self._order[place * self._batch_size : (place + 1) * self._batch_size]
        return binarise(self._sequences[chosen], generator(self._seed, "binarise", step))
