"""Do completions depend on the prefix? Continue real pictures, and see which picture the rest resembles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vssm.model import VSSM
from vssm.passes import Window

_REQUESTS = 100


def complete(model: VSSM, prefixes: NDArray[Any], length: int, num_samples: int, seed: int = 0) -> NDArray[Any]:
    """Continue each prefix (n, steps, size) by `length` steps: (n, num_samples, length, size).

    Prefix i has seed `seed + i`: the values are those of `model.generate` with that prefix and seed.
    """
    parts = []
    for first in range(0, len(prefixes), _REQUESTS):
        some = prefixes[first : first + _REQUESTS]
        states = [model.scaled(model.start(num_samples, seed + first + i), x) for i, x in enumerate(some)]
        seen = model.advance([Window(state, len(x), observed=x) for state, x in zip(states, some, strict=True)])
        made = model.advance([Window(after.state, length, encode=False) for after in seen])
        parts.append(np.stack([after.values for after in made]))
    return np.concatenate(parts)


def prefix_dependence(model: VSSM, x: NDArray[np.uint8], steps: int, num_samples: int, seed: int = 0) -> float:
    """Return the share of sequences x (n, length, size) whose completion resembles their own rest.

    Each is continued after its first `steps` steps; the mean of `num_samples` completions has to be nearer (squared
    error) to the sequence's own rest than to the rest of the next sequence in x. Chance gives 0.5.
    """
    rest = x[:, steps:].astype(np.float64)
    mean = complete(model, x[:, :steps], rest.shape[1], num_samples, seed).mean(1)  # (n, length - steps, size)
    own = ((mean - rest) ** 2).sum((1, 2))
    other = ((mean - np.roll(rest, -1, axis=0)) ** 2).sum((1, 2))
    return float((own < other).mean())
