"""How good forecasts are: joint paths after rolling windows of a test series, against what came.

    context  (n, steps, C)      observed before each forecast
    truth    (n, horizon, C)    what came
    paths    (n, S, horizon, C) a forecaster's samples

A `Forecaster` is any function from contexts to paths: `by_model` of a VSSM or a rival, `seasonal_naive`, or another.
Channels have units of their own, so figures that have units are divided by the channel's standard deviation in the
history (the training split) before they are averaged. Knows nothing of data sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vssm.baselines.rival import Rival
from vssm.model import VSSM
from vssm.prefix import complete
from vssm.scores import crps, quantile_loss, quantiles_of, seasonal_error

Values = NDArray[Any]
Forecaster = Callable[[Values, int, int, int], Values]  # (context, horizon, num_samples, seed) -> paths
QUANTILES = tuple(i / 10 for i in range(1, 10))  # the first and the last bound the 80 % interval
_AT_ONCE = 32  # windows: bounds memory


@dataclass(frozen=True)
class Setting:
    """What is forecast: `horizon` steps after `context` ones, from every `stride`-th place, or `limit` even ones."""

    context: int
    horizon: int
    stride: int = 1
    num_samples: int = 100
    season: int = 24
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Scores:
    """Means over windows, steps and channels; lower is better, but for `coverage`, which should be 0.8.

    crps             in standard deviations of the history
    quantile_loss    mean over 0.1 ... 0.9 and channels of (sum of quantile losses / sum of |truth|), without unit
    mase             absolute error of the median, in seasonal-naive's mean error within the history
    coverage, width  of the interval from the 0.1 to the 0.9 quantile; the width in standard deviations
    """

    windows: int
    num_samples: int
    crps: float
    quantile_loss: float
    mase: float
    coverage: float
    width: float
    crps_by_step: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return asdict(self)


def rolling(series: Values, setting: Setting) -> tuple[Values, Values]:
    """Contexts (n, context, C) and what came after them (n, horizon, C) of a series (rows, C).

    Raises: ValueError when the series is too short for one window, or the setting is none.
    """
    context, horizon = setting.context, setting.horizon
    if min(context, horizon, setting.stride, 1 if setting.limit is None else setting.limit) < 1:
        raise ValueError("context, horizon, stride and limit must be at least 1")
    if series.ndim != 2 or len(series) < context + horizon:
        raise ValueError(
            f"a series (rows, channels) of at least {context + horizon} rows is needed, not {series.shape}"
        )
    starts = np.arange(0, len(series) - context - horizon + 1, setting.stride)
    if setting.limit is not None and setting.limit < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, setting.limit).astype(int)]
    rows = starts[:, None] + np.arange(context + horizon)
    whole = series[rows]  # (n, context + horizon, C)
    return whole[:, :context], whole[:, context:]


def by_model(model: VSSM | Rival) -> Forecaster:
    """The paths of a model given each context as its prefix; window i has seed `seed + i`."""

    def forecast(context: Values, horizon: int, num_samples: int, seed: int) -> Values:
        if isinstance(model, VSSM):
            return complete(model, context, horizon, num_samples, seed)
        made = [model.generate(num_samples, horizon, seed + i, x).values for i, x in enumerate(context)]
        return np.stack(made)

    return forecast


def seasonal_naive(season: int) -> Forecaster:
    """Repeats the last season, with Gaussian errors of the size that this has had within the context.

    A path adds a new error to the value of a season before, so the variance grows with the number of seasons ahead,
    as in Hyndman and Athanasopoulos, "Forecasting: principles and practice", 3rd edition, 2021, section 5.5.
    The context must be longer than a season.
    """

    def forecast(context: Values, horizon: int, num_samples: int, seed: int) -> Values:
        if context.shape[1] <= season:
            raise ValueError(
                f"seasonal-naive needs more than a season of {season} steps before, not {context.shape[1]}"
            )
        seasons = -(-horizon // season)
        error = context[:, season:].astype(np.float64) - context[:, :-season]
        deviation = np.sqrt((error**2).mean(1))[:, None, None, None]  # (n, 1, 1, 1, C)
        shape = (len(context), num_samples, seasons, season, context.shape[2])
        errors = deviation * np.random.default_rng(seed).standard_normal(shape)
        last = context[:, None, None, -season:]
        paths = (last + np.cumsum(errors, axis=2)).reshape(len(context), num_samples, -1, context.shape[2])
        return np.asarray(paths[:, :, :horizon])

    return forecast


def evaluate(
    forecaster: Forecaster,
    series: Values,
    history: Values,
    setting: Setting,
    report: Callable[[int, int], None] | None = None,
) -> Scores:
    """Figures of a forecaster on a test series (rows, C), in the units that a history (rows, C) gives.

    `report` is told how many of how many windows are done.
    Raises: ValueError when series, history and setting do not fit together.
    """
    if history.ndim != 2 or history.shape[1:] != series.shape[1:]:
        raise ValueError(f"series and history must have the same channels, not {series.shape} and {history.shape}")
    context, truth = rolling(series, setting)
    parts = []
    for first in range(0, len(context), _AT_ONCE):
        here = slice(first, first + _AT_ONCE)
        paths = forecaster(context[here], setting.horizon, setting.num_samples, setting.seed + first)
        parts.append(_score(paths, truth[here]))
        if report is not None:
            report(min(first + _AT_ONCE, len(context)), len(context))
    each = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    deviation, naive = history.std(0, dtype=np.float64), seasonal_error(history, setting.season)
    size = np.abs(truth.astype(np.float64)).sum((0, 1))
    if not size.all():
        raise ValueError(f"channel {int(np.argmin(size))} is zero throughout: its weighted quantile loss has no scale")
    by_step = (each["crps"] / deviation).mean((0, 2))
    return Scores(
        windows=len(truth),
        num_samples=setting.num_samples,
        crps=float(by_step.mean()),
        quantile_loss=float((each["loss"].sum((0, 1)) / size).mean()),
        mase=float((each["error"] / naive).mean()),
        coverage=float(each["inside"].mean()),
        width=float((each["width"] / deviation).mean()),
        crps_by_step=tuple(by_step.tolist()),
    )


def _score(paths: Values, truth: Values) -> dict[str, NDArray[Any]]:
    """What every value (n, H, C) contributes."""
    levels = quantiles_of(paths, QUANTILES)
    low, median, high = levels[0], levels[len(levels) // 2], levels[-1]
    return {
        "crps": crps(paths, truth),
        "loss": quantile_loss(levels, truth, QUANTILES).mean(0),
        "error": np.abs(median - truth),
        "inside": (low <= truth) & (truth <= high),
        "width": high - low,
    }
