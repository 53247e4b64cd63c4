"""From an observation's configuration to its module."""

from __future__ import annotations

from vssm import config
from vssm.observations.base import Observation
from vssm.observations.bernoulli import BernoulliObservation
from vssm.observations.categorical import CategoricalObservation
from vssm.observations.gaussian import GaussianObservation
from vssm.observations.logistic_mixture import LogisticMixtureObservation
from vssm.observations.student_t import StudentTObservation


def build_observation(observation: config.Observation, size: int, width: int, linear: bool = False) -> Observation:
    """The observation model of `size` values a step that reads features of `width` channels."""
    match observation:
        case config.Bernoulli():
            return BernoulliObservation(size, width, linear)
        case config.Categorical(classes=classes):
            return CategoricalObservation(size, width, linear, classes)
        case config.Gaussian():
            return GaussianObservation(size, width, linear)
        case config.LogisticMixture():
            return LogisticMixtureObservation(size, width, linear, observation)
        case config.StudentT():
            return StudentTObservation(size, width, linear)
