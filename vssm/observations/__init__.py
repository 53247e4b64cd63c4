"""Observation models p(x_t | h_t): a head on the decoder, its log-likelihood, and sampling from given noise.

bernoulli         bits
categorical       classes: bytes, few levels
logistic_mixture  levels of grey or RGB pixels, from left to right within a step
gaussian          real numbers, one scale a channel
student_t         real numbers with heavy tails
"""

from vssm.observations.base import Observation, ObservationError
from vssm.observations.build import build_observation

__all__ = ["Observation", "ObservationError", "build_observation"]
