"""Variational state space models: whole sequences from one parallel pass, resumed from a constant-size state.

    model = vssm.load("mnist")
    out = model.generate(num_samples=16, length=28, seed=0)      # out.values, out.state
    more = model.generate(state=out.state, length=28)

Names are imported when first used, so that `import vssm` alone does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vssm.checkpoint import CheckpointError, load, save, shipped_models
    from vssm.config import ModelConfig
    from vssm.model import VSSM, Elbo
    from vssm.noise import Counters
    from vssm.observations import ObservationError
    from vssm.passes import Advance, Window
    from vssm.recurrence import linear_recurrence, linear_recurrence_reference
    from vssm.ssm import SSM
    from vssm.state import State, StateError

_MODULES = {
    "checkpoint": ("CheckpointError", "load", "save", "shipped_models"),
    "config": ("ModelConfig",),
    "model": ("VSSM", "Elbo"),
    "noise": ("Counters",),
    "observations": ("ObservationError",),
    "passes": ("Advance", "Window"),
    "recurrence": ("linear_recurrence", "linear_recurrence_reference"),
    "ssm": ("SSM",),
    "state": ("State", "StateError"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vssm' has no attribute {name!r}")
    return getattr(import_module(f"vssm.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
