"""Figures of two sets of features, (n, F) float64: how far apart, how much of each lies in the other.

Frechet distance: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017, section 4. Precision and recall:
Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019, equations 1 and 2.
All of them depend on how many samples there are: compare figures of equal numbers only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Figures = NDArray[np.float64]

_PAIRS_AT_ONCE = 1 << 23  # 64 MiB of distances


class PrecisionRecall(NamedTuple):
    """Shares in 0..1: of the samples that look real, and of the real data that the samples reach."""

    precision: float
    recall: float


def frechet_distance(samples: Figures, real: Figures) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) of the means and covariances of features (n, F) and (m, F).

    The trace of (S1 S2)^1/2 is that of (S1^1/2 S2 S1^1/2)^1/2, whose matrix is symmetric.
    Raises: ValueError when a set has fewer than two rows, or the numbers of features differ.
    """
    _check(samples, real, 2)
    (mean1, covariance1), (mean2, covariance2) = _moments(samples), _moments(real)
    values, vectors = np.linalg.eigh(covariance1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariance2 @ root).clip(0)).sum()
    distance = ((mean1 - mean2) ** 2).sum() + np.trace(covariance1) + np.trace(covariance2) - 2 * cross
    return max(0.0, float(distance))


def precision_recall(samples: Figures, real: Figures, neighbours: int = 3) -> PrecisionRecall:
    """Precision: share of samples within some real row's ball; recall: share of real rows within some sample's.

    A row's ball reaches to its k-th nearest neighbour in its own set, itself not counted. Distances are computed as
    differences, in pieces of at most 64 MiB, so that equal rows are at distance 0 exactly.
    Raises: ValueError when a set has no k-th neighbour, or the numbers of features differ.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}: at least one is needed")
    _check(samples, real, neighbours + 1)
    x, y = torch.tensor(samples), torch.tensor(real)
    x_radii, y_radii = _radii(x, neighbours), _radii(y, neighbours)
    covered = torch.zeros(len(y), dtype=torch.bool)
    looks_real = []
    for part, radii in zip(_pieces(x, len(y)), _pieces(x_radii, len(y)), strict=True):
        distances = _distances(part, y)  # (piece, m)
        looks_real.append((distances <= y_radii).any(1))
        covered |= (distances <= radii[:, None]).any(0)
    return PrecisionRecall(torch.cat(looks_real).double().mean().item(), covered.double().mean().item())


def class_entropy(probabilities: Figures) -> float:
    """Entropy, in nats, of the mean of class distributions (n, classes): log(classes) when all are as frequent."""
    mean = probabilities.mean(0)
    mean = mean[mean > 0]
    return float(-(mean * np.log(mean)).sum())


def _check(samples: Figures, real: Figures, least: int) -> None:
    if samples.ndim != 2 or real.ndim != 2 or samples.shape[1] != real.shape[1]:
        raise ValueError(f"features are {samples.shape} and {real.shape}: needed are (n, F) and (m, F)")
    if min(len(samples), len(real)) < least:
        raise ValueError(f"{len(samples)} samples and {len(real)} real ones: at least {least} of each are needed")
    if not (np.isfinite(samples).all() and np.isfinite(real).all()):
        raise ValueError("features hold values that are not finite")


def _moments(features: Figures) -> tuple[Figures, Figures]:
    """Mean (F,) and unbiased covariance (F, F)."""
    return features.mean(0), np.cov(features, rowvar=False).reshape(features.shape[1], -1)


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each row to its k-th nearest other row, (n,): the smallest but k, as the smallest is its own 0."""
    pieces = _pieces(features, len(features))
    return torch.cat([_distances(part, features).kthvalue(neighbours + 1, 1).values for part in pieces])


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _pieces(rows: Tensor, others: int) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, _PAIRS_AT_ONCE // others))
