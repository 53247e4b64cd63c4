"""Figures of forecasts against their definitions in loops and closed forms."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import integrate

from vssm.scores import crps, quantile_loss, quantiles_of, seasonal_error

RANDOM = np.random.default_rng(0)
SAMPLES, TRUTH = RANDOM.normal(size=(3, 7, 4, 2)), RANDOM.normal(size=(3, 4, 2))


def gaussian_crps(mean: float, deviation: float, y: float) -> float:
    """Gneiting and Raftery, 2007, equation 5."""
    z = (y - mean) / deviation
    normal = NormalDist()
    return deviation * (z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / math.sqrt(math.pi))


def test_crps_is_its_double_loop() -> None:
    result = crps(SAMPLES, TRUTH)
    for n, h, c in np.ndindex(3, 4, 2):
        x, y = SAMPLES[n, :, h, c], TRUTH[n, h, c]
        pairs = [abs(x[i] - x[j]) for i in range(7) for j in range(7) if i != j]
        assert result[n, h, c] == pytest.approx(np.mean(np.abs(x - y)) - np.mean(pairs) / 2)


@pytest.mark.parametrize("y", [-2.0, 0.3, 5.0])
def test_crps_of_a_gaussian_is_the_closed_form(y: float) -> None:
    samples = RANDOM.normal(1.0, 2.0, (1, 400_000, 1, 1))
    assert crps(samples, np.full((1, 1, 1), y)).item() == pytest.approx(gaussian_crps(1.0, 2.0, y), abs=0.01)


@pytest.mark.parametrize("count", [2, 5])
def test_crps_does_not_depend_on_the_number_of_samples_in_the_mean(count: int) -> None:
    samples, truth = RANDOM.normal(size=(200_000, count, 1, 1)), RANDOM.normal(size=(200_000, 1, 1))
    assert crps(samples, truth).mean() == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)


def test_crps_is_least_for_the_true_distribution() -> None:
    truth = RANDOM.normal(size=(20_000, 1, 1))
    z = RANDOM.normal(size=(20_000, 20, 1, 1))
    right, wide, narrow, moved = (crps(x, truth).mean() for x in (z, 2 * z, 0.3 * z, z + 0.7))
    assert right < min(wide, narrow, moved)


def test_crps_of_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        crps(SAMPLES[:, :1], TRUTH)


def test_quantile_loss_is_its_formula() -> None:
    quantiles = (0.1, 0.5, 0.75)
    levels = quantiles_of(SAMPLES, quantiles)
    result = quantile_loss(levels, TRUTH, quantiles)
    for q, n, h, c in np.ndindex(3, 3, 4, 2):
        share, level, y = quantiles[q], float(np.quantile(SAMPLES[n, :, h, c], quantiles[q])), TRUTH[n, h, c]
        expected = 2 * share * (y - level) if y >= level else 2 * (1 - share) * (level - y)
        assert result[q, n, h, c] == pytest.approx(expected)


def test_quantile_loss_adds_up_to_the_crps() -> None:
    def loss(share: float) -> float:
        level = np.full((1, 1, 1, 1), NormalDist(1.0, 2.0).inv_cdf(share))
        return quantile_loss(level, np.full((1, 1, 1), 0.3), (share,)).item()

    assert integrate.quad(loss, 0, 1, limit=200)[0] == pytest.approx(gaussian_crps(1.0, 2.0, 0.3), abs=1e-4)


def test_seasonal_error_is_the_loop() -> None:
    history = RANDOM.normal(size=(30, 2))
    expected = [np.mean([abs(history[t, c] - history[t - 5, c]) for t in range(5, 30)]) for c in range(2)]
    assert seasonal_error(history, 5).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "says"), [(5, "longer than a season"), (10, "channel 1 .* repeats itself")])
def test_a_history_that_gives_no_scale_is_refused(rows: int, says: str) -> None:
    history = np.stack([np.arange(rows) ** 2.0, np.arange(rows) % 5], axis=1)
    with pytest.raises(ValueError, match=says):
        seasonal_error(history, 5)
