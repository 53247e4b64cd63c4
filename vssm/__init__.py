"""Variational state space models: whole sequences from one parallel pass, resumed from a constant-size state.

model = vssm.load("mnist")
out = model.generate(num_samples=16, length=28, seed=0)      # out.values, out.state
more = model.generate(state=out.state, length=28)
"""

from vssm.checkpoint import CheckpointError, load, save, shipped_models
from vssm.config import ModelConfig
from vssm.generation import Advance, Window
from vssm.model import VSSM, Elbo
from vssm.noise import Counters
from vssm.observations import ObservationError
from vssm.recurrence import linear_recurrence, linear_recurrence_reference
from vssm.ssm import SSM
from vssm.state import State, StateError

__all__ = [
    "SSM",
    "VSSM",
    "Advance",
    "CheckpointError",
    "Counters",
    "Elbo",
    "ModelConfig",
    "ObservationError",
    "State",
    "StateError",
    "Window",
    "linear_recurrence",
    "linear_recurrence_reference",
    "load",
    "save",
    "shipped_models",
]
