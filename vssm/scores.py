"""Figures of probabilistic forecasts, from samples.

    truth    (n, H, C)       what came: n windows, H steps, C channels
    samples  (n, S, H, C)    S joint paths a window

CRPS      E|X - y| - E|X - X'| / 2, the units of y, lower is better. Over pairs of different samples, so that its mean
          does not depend on S ("fair": Ferro, 2014; CRPS: Gneiting and Raftery, 2007).
quantile  2 (y - q) (tau - [y < q]), of which the CRPS is the integral over tau from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def crps(samples: NDArray[Any], truth: NDArray[Any]) -> Array:
    """The fair CRPS of every value, (n, H, C); at least two samples."""
    count = samples.shape[1]
    if count < 2:
        raise ValueError(f"the CRPS of samples needs at least 2 of them, not {count}")
    ordered = np.sort(samples.astype(np.float64), axis=1)
    error = np.abs(ordered - truth[:, None]).mean(1)
    weights = 2.0 * np.arange(count) - (count - 1)  # sum_{i<j} (x_j - x_i), ordered, is the sum of (2i - S - 1) x_i
    spread: Array = np.einsum("s,nshc->nhc", weights, ordered) / (count * (count - 1))
    result: Array = error - spread
    return result


def quantiles_of(samples: NDArray[Any], quantiles: Sequence[float]) -> Array:
    """Quantiles over the samples, linear between order statistics: (Q, n, H, C)."""
    levels: Array = np.quantile(samples.astype(np.float64), quantiles, axis=1)
    return levels


def quantile_loss(levels: Array, truth: NDArray[Any], quantiles: Sequence[float]) -> Array:
    """Twice the pinball loss of every value, (Q, n, H, C), for forecast quantiles `levels` (Q, n, H, C)."""
    share = np.asarray(quantiles)[:, None, None, None]
    loss: Array = 2.0 * (truth - levels) * (share - (truth < levels))
    return loss


def seasonal_error(history: NDArray[Any], season: int) -> Array:
    """Mean absolute error of repeating the value of a season before, of each channel (C,): what MASE divides by.

    Source: Hyndman and Koehler, "Another look at measures of forecast accuracy", 2006.
    Raises: ValueError when the history is no longer than a season, or a channel repeats itself exactly.
    """
    if len(history) <= season:
        raise ValueError(f"a history longer than a season of {season} steps is needed, not {len(history)} steps")
    error: Array = np.abs(history[season:].astype(np.float64) - history[:-season]).mean(0)
    if not error.all():
        raise ValueError(f"channel {int(np.argmin(error))} of the history repeats itself exactly: MASE has no scale")
    return error
