"""Observation models by themselves, and counters to draw from."""

from typing import Any

import torch
from torch import Tensor

from vssm import config
from vssm.noise import Counters
from vssm.observations import build_observation
from vssm.observations.logistic_mixture import LogisticMixtureObservation
from vssm.observations.student_t import StudentTObservation


def mixture(size: int, **settings: Any) -> LogisticMixtureObservation:
    """A mixture for steps of `size` values."""
    torch.manual_seed(0)
    made = build_observation(config.LogisticMixture(**settings), size, 8)
    assert isinstance(made, LogisticMixtureObservation)
    return made.requires_grad_(False)


def student(*freedom: float) -> StudentTObservation:
    """One channel for each number of degrees of freedom."""
    made = build_observation(config.StudentT(), len(freedom), 8)
    assert isinstance(made, StudentTObservation)
    with torch.no_grad():
        made.log_freedom.copy_(torch.log(torch.tensor(freedom) - 2.1))
    return made.requires_grad_(False)


def counters(rows: int, seed: int = 3) -> Counters:
    """Rows that are samples of one sequence."""
    sample = torch.arange(rows)
    return Counters(torch.full_like(sample, seed), sample, torch.zeros_like(sample))


def ones(rows: int) -> Tensor:
    """Temperature 1 for all rows."""
    return torch.ones(rows)
