"""Seeds for every purpose, the order of epochs, and images as sequences of bits. Nothing here knows about models."""

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


class EpochOrder:
    """Which examples a step sees: every epoch goes through all of them once, in its own order, a function of the seed.

    Raises: ValueError when there is not one batch of examples.
    """

    def __init__(self, count: int, batch_size: int, seed: int, purpose: str = "order") -> None:
        if batch_size > count:
            raise ValueError(f"batch_size {batch_size} is larger than the {count} training examples")
        self._count, self._batch_size, self._seed, self._purpose = count, batch_size, seed, purpose
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def chosen(self, step: int) -> Tensor:
        """Indices (batch_size,) of the step's examples."""
        epoch, place = divmod(step, self._count // self._batch_size)
        if epoch != self._epoch:
            random = generator(self._seed, self._purpose, epoch)
            self._epoch, self._order = epoch, torch.randperm(self._count, generator=random)
        return self._order[place * self._batch_size : (place + 1) * self._batch_size]
