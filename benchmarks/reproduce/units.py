"""What likelihoods are given in: nats per image for binary ones, else bits per value."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A name, and whether it is of one value and not of a whole sequence."""

    name: str
    of_a_value: bool

    def scale(self, dimensions: int) -> float:
        """What nats per sequence of so many values are multiplied with."""
        return 1 / (dimensions * math.log(2)) if self.of_a_value else 1.0


def unit(task: str) -> Unit:
    """The unit of a task."""
    if task.startswith("mnist"):
        return Unit("nats per image", False)
    return Unit("bits per byte" if task == "shakespeare" else "bits per value", True)
