"""Forecasts over rolling windows: who knows more scores better, and each figure is what it says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.vssm.baselines.rivals import rival
from tests.vssm.models import build
from vssm.forecast import Forecaster, Scores, Setting, Values, by_model, evaluate, rolling, seasonal_naive

SEASON = 6
RANDOM = np.random.default_rng(0)
DAILY = np.sin(np.arange(2000)[:, None] * 2 * np.pi / SEASON) * [1.0, 50.0] + [0.0, 200.0]
SERIES = (DAILY + RANDOM.normal(size=(2000, 2)) * [0.3, 15.0]).astype(np.float32)
HISTORY, TEST = SERIES[:400], SERIES[400:]
SETTING = Setting(context=30, horizon=12, stride=5, num_samples=200, season=SEASON)


def knowing(deviation: float, shift: float = 0.0) -> Forecaster:
    """The true mean, found by the context's phase; errors of `deviation` times the true ones."""

    def forecast(context: Values, horizon: int, num_samples: int, seed: int) -> Values:
        ahead = []
        for x in context:
            start = next(t for t in range(400, 2000) if np.array_equal(SERIES[t : t + len(x)], x)) + len(x)
            ahead.append(DAILY[start : start + horizon])
        noise = np.random.default_rng(seed).standard_normal((len(context), num_samples, horizon, 2))
        return np.asarray(np.stack(ahead)[:, None] + (deviation * noise + shift) * [0.3, 15.0])

    return forecast


def scores(forecaster: Forecaster, **changes: Any) -> Scores:
    return evaluate(forecaster, TEST, HISTORY, replace(SETTING, **changes))


def test_windows_roll_over_the_series() -> None:
    context, truth = rolling(TEST, replace(SETTING, stride=500))
    assert context.shape == (4, 30, 2)
    assert truth.shape == (4, 12, 2)
    for i in range(4):
        assert np.array_equal(np.concatenate([context[i], truth[i]]), TEST[500 * i : 500 * i + 42])


def test_the_last_window_ends_with_the_series_and_a_limit_keeps_both_ends() -> None:
    whole = rolling(TEST, replace(SETTING, stride=1))[1]
    few = rolling(TEST, replace(SETTING, stride=1, limit=7))[1]
    assert len(whole) == 1600 - 42 + 1
    assert len(few) == 7
    for windows in (whole, few):
        assert np.array_equal(windows[0], TEST[30:42])
        assert np.array_equal(windows[-1], TEST[-12:])


def test_the_truth_covers_80_percent_and_has_the_gaussian_crps() -> None:
    result = scores(knowing(1.0))
    noise = np.array([0.3, 15.0]) / HISTORY.std(0)
    assert result.coverage == pytest.approx(0.8, abs=0.03)
    assert result.width == pytest.approx(2 * 1.2816 * noise.mean(), rel=0.03)
    assert result.crps == pytest.approx(noise.mean() / np.sqrt(np.pi), rel=0.05)
    assert result.mase == pytest.approx(1 / np.sqrt(2), rel=0.06)  # one error against the difference of two
    assert result.windows == 312


@pytest.mark.parametrize(("deviation", "shift"), [(3.0, 0.0), (0.2, 0.0), (1.0, 2.0)])
def test_control_wrong_distributions_score_worse(deviation: float, shift: float) -> None:
    right, wrong = scores(knowing(1.0)), scores(knowing(deviation, shift))
    assert wrong.crps > 1.1 * right.crps
    assert wrong.quantile_loss > 1.1 * right.quantile_loss
    assert abs(wrong.coverage - 0.8) > 0.1
    assert (wrong.mase > 1.2 * right.mase) == (shift != 0)


def test_figures_have_no_units() -> None:
    plain = scores(seasonal_naive(SEASON))
    moved = evaluate(seasonal_naive(SEASON), TEST * 1000, HISTORY * 1000, SETTING)
    assert moved.crps == pytest.approx(plain.crps, rel=1e-5)
    assert (moved.quantile_loss, moved.mase) == pytest.approx((plain.quantile_loss, plain.mase), rel=1e-5)


def test_seasonal_naive_is_calibrated_on_a_seasonal_random_walk() -> None:
    """Its own model: x_t = x_{t-m} + e_t; the variance grows with each season ahead."""
    walk = np.cumsum(np.random.default_rng(1).normal(size=(500, SEASON, 2)), axis=0).reshape(-1, 2)
    setting = Setting(context=200, horizon=4 * SEASON, stride=7, num_samples=100, season=SEASON)
    result = evaluate(seasonal_naive(SEASON), walk, walk, setting)
    assert result.coverage == pytest.approx(0.8, abs=0.03)
    by_season = np.array(result.crps_by_step).reshape(4, SEASON).mean(1)
    assert by_season[3] / by_season[0] == pytest.approx(2.0, rel=0.1)  # sqrt(4)


def test_seasonal_naive_repeats_the_last_season() -> None:
    context = DAILY[None, :30]
    paths = seasonal_naive(SEASON)(context, 15, 3, 0)
    assert paths.shape == (1, 3, 15, 2)
    np.testing.assert_allclose(paths[0, 0], DAILY[30:45], atol=1e-6)


@pytest.mark.parametrize("kind", ["vssm", "transformer"])
def test_a_model_forecasts_from_each_context(kind: str) -> None:
    model = build("scaled") if kind == "vssm" else rival(kind, "real", scaling="prefix")
    context = rolling(TEST, replace(SETTING, limit=3))[0]
    paths = by_model(model)(context, 4, 5, 7)
    assert paths.shape == (3, 5, 4, 2)
    assert np.array_equal(paths[2], model.generate(5, 4, 9, context[2]).values)
    assert 0.0 <= scores(by_model(model), limit=3, num_samples=8).coverage <= 1.0


@pytest.mark.parametrize(
    ("series", "history", "changes", "says"),
    [
        (TEST[:41], HISTORY, {}, "at least 42 rows"),
        (TEST, HISTORY[:, :1], {}, "the same channels"),
        (TEST, HISTORY[:SEASON], {}, "longer than a season"),
        (TEST, HISTORY, {"horizon": 0}, "at least 1"),
        (TEST, HISTORY, {"limit": 0}, "at least 1"),
        (TEST, HISTORY, {"context": SEASON}, "more than a season"),
        (TEST, HISTORY, {"num_samples": 1}, "at least 2"),
        (TEST * [1, 0], HISTORY, {}, "zero throughout"),
    ],
)
def test_what_does_not_fit_is_refused(series: Values, history: Values, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        evaluate(seasonal_naive(SEASON), series, history, replace(SETTING, **changes))
