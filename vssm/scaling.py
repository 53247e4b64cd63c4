"""Location and scale of a series, taken once from the prefix that a sequence begins with and kept in its state.

    scale   float32 (num_samples, 2 x size)   each channel's location, then each channel's scale
    before any prefix                         location 0, scale 1

Networks see (x - location) / scale only. Sums are exactly rounded (math.fsum), so a prefix has one scale, whatever
the machine; plus, minus, times and divide round exactly too, so no bit depends on how rows are batched. A channel that
does not vary has the scale `FLOOR`: it is expected to stay as it is.

Source: Kim et al., "Reversible instance normalization for accurate time-series forecasting", 2022, without its learned
part.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FLOOR = 1e-5  # added to the standard deviation, in the units of the values


def initial(num_samples: int, size: int) -> Tensor:
    """Location 0 and scale 1 of every channel, (num_samples, 2 x size)."""
    return torch.cat([torch.zeros(num_samples, size), torch.ones(num_samples, size)], dim=1)


def measure(prefix: NDArray[Any]) -> NDArray[np.float32]:
    """Mean and standard deviation (plus `FLOOR`) of each channel of (steps, size), at least one step: (2 x size,)."""
    columns = np.asarray(prefix, np.float32).astype(np.float64).T  # what the networks are given, in sums without loss
    location = [math.fsum(column.tolist()) / len(column) for column in columns]
    scale = [
        math.sqrt(math.fsum(((column - mean) ** 2).tolist()) / len(column)) + FLOOR
        for column, mean in zip(columns, location, strict=True)
    ]
    return np.array(location + scale, np.float32)


def normalise(x: Tensor, scale: Tensor) -> Tensor:
    """Values x (B, T, size) as the networks see them, by their scale (B, 2 x size)."""
    location, spread = scale[:, None].chunk(2, dim=-1)
    return (x - location) / spread


def restore(x: Tensor, scale: Tensor) -> Tensor:
    """What the networks made (B, T, size), in the units of the prefix."""
    location, spread = scale[:, None].chunk(2, dim=-1)
    return x * spread + location
