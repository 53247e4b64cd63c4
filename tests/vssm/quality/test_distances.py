"""The figures of feature sets, against closed forms, a slow reference and sets whose figures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg

from vssm.quality import distances
from vssm.quality.distances import Figures, class_entropy, frechet_distance, precision_recall


def gaussian(count: int, seed: int, size: int = 5) -> Figures:
    return np.random.default_rng(seed).normal(size=(count, size))


def with_moments(mean: Figures, covariance: Figures) -> Figures:
    """200 rows that have exactly this mean and covariance."""
    raw = gaussian(200, 7, len(mean))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(raw.T @ raw / 199)).T
    rows: Figures = white @ np.linalg.cholesky(covariance).T + mean
    return rows


def reference(x: Figures, y: Figures, k: int) -> float:
    """Share of the rows of x in some ball of y, one row at a time."""
    radii = [sorted(math.dist(a, b) for b in y)[k] for a in y]
    return sum(any(math.dist(a, b) <= r for b, r in zip(y, radii, strict=True)) for a in x) / len(x)


def test_frechet_distance_of_two_gaussians_is_the_closed_form() -> None:
    root = gaussian(3, 1, 3)
    s1, s2 = root @ root.T + np.eye(3), np.diag([0.5, 2.0, 9.0])
    m1, m2 = np.array([1.0, 0.0, -1.0]), np.array([0.0, 2.0, 0.5])
    cross = np.trace(scipy.linalg.sqrtm(s1 @ s2)).real
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * cross
    assert frechet_distance(with_moments(m1, s1), with_moments(m2, s2)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_one_feature() -> None:
    x, y = with_moments(np.zeros(1), np.eye(1) * 4), with_moments(np.ones(1), np.eye(1) * 9)
    assert frechet_distance(x, y) == pytest.approx(1 + (3 - 2) ** 2)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("pairs", [1, 400, 1 << 23])
def test_precision_and_recall_are_the_reference_however_they_are_cut(
    k: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "_PAIRS_AT_ONCE", pairs)
    x, y = gaussian(40, 0), gaussian(50, 1) * 1.4
    found = precision_recall(x, y, k)
    assert found == pytest.approx((reference(x, y, k), reference(y, x, k)))
    assert found.precision != found.recall


def test_identical_sets_are_perfect_and_distant_ones_share_nothing() -> None:
    x = gaussian(300, 0)
    x[:, 2] = 0  # a feature that never fires
    x[:8] = x[0]  # rows that are equal have balls of radius 0
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x, x + 100) == (0, 0)
    assert frechet_distance(x, x + 100) == pytest.approx(5 * 100**2)


def test_a_dropped_mode_lowers_recall_and_an_invented_one_precision() -> None:
    modes = np.concatenate([gaussian(200, 0), gaussian(200, 1) + 50])
    one = modes[:200]
    assert precision_recall(one, modes) == (1, 0.5)
    assert precision_recall(modes, one) == (0.5, 1)


def test_class_entropy() -> None:
    assert class_entropy(np.eye(4)) == pytest.approx(math.log(4))
    assert class_entropy(np.eye(4)[:2]) == pytest.approx(math.log(2))
    assert class_entropy(np.eye(4)[[1, 1]]) == 0


def test_bad_features_are_refused() -> None:
    x = gaussian(4, 0)
    with pytest.raises(ValueError, match=r"needed are \(n, F\) and \(m, F\)"):
        frechet_distance(x, x[:, :2])
    with pytest.raises(ValueError, match="at least 5 of each"):
        precision_recall(x, x, 4)
    with pytest.raises(ValueError, match="at least one is needed"):
        precision_recall(x, x, 0)
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(x, x * np.nan)
