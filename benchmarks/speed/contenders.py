"""The models that compete, behind one interface: a VSSM and its rivals of as many parameters, with random weights."""

from __future__ import annotations

import gc
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.speed.counts import Cost, cost
from vssm import VSSM, ModelConfig, Window

NAMES = ("vssm", "transformer", "mamba")
_FEW = 2  # steps, to compile


class Contender(Protocol):
    """A model as it is run here; `kept` is what it goes on from: a state or a cache."""

    name: str
    config: Any
    grows: bool
    """Whether a step costs more, and what is kept is more, the further a sequence is."""

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""

    def warm_up(self, samples: int, length: int) -> None:
        """Compile whatever the sizes need."""

    def generate(self, samples: int, length: int) -> Any:
        """Whole sequences."""

    def first_chunk(self, samples: int, steps: int, length: int) -> Any:
        """Until the first `steps` of `length` are there."""

    def condition(self, observed: np.ndarray[Any, Any], samples: int = 1) -> Any:
        """`kept` after observed steps (steps, size)."""

    def own(self, kept: Any) -> Any:
        """One that `resume` may change."""

    def resume(self, kept: Any, steps: int) -> Any:
        """`kept` after so many further steps."""

    def release(self) -> None:
        """Buffers that the next generation would take over."""

    def kept_bytes(self, position: int) -> int:
        """Of one sequence."""

    def cost(self, samples: int, steps: int, first: int = 0) -> Cost:
        """Of generated steps from position `first` on."""


class VssmContender:
    """A VSSM, run as the server runs it: no encoder where no later prefix is wanted."""

    name, grows = "vssm", False

    def __init__(self, model: VSSM) -> None:
        self.model, self.config = model, model.config
        self._warm = False

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def warm_up(self, samples: int, length: int) -> None:
        if not self._warm:
            self.model.warm_up()
            self._warm = True
        if self.model.device.type == "cuda":  # a graph belongs to its shape
            self.generate(samples, length)

    def generate(self, samples: int, length: int) -> Any:
        return self.resume(self.model.start(samples, 0), length)

    def first_chunk(self, samples: int, steps: int, length: int) -> Any:
        return next(iter(self.model.stream(steps, num_samples=samples, length=length)))

    def condition(self, observed: np.ndarray[Any, Any], samples: int = 1) -> Any:
        return self.model.condition(observed, samples)

    def own(self, kept: Any) -> Any:
        return kept

    def resume(self, kept: Any, steps: int) -> Any:
        return self.model.advance([Window(kept, steps, encode=False)])[0].state

    def release(self) -> None:
        gc.collect()

    def kept_bytes(self, position: int) -> int:
        return int(self.model.info()["state_bytes"])

    def cost(self, samples: int, steps: int, first: int = 0) -> Cost:
        return cost(self.config, samples, steps, first)


class RivalContender:
    """A Transformer or a Mamba: one step after another."""

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.model, self.config = name, model, model.config
        self.grows = bool(model.grows)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def warm_up(self, samples: int, length: int) -> None:
        """On a CPU what is compiled does not depend on the length; on CUDA each size of the cache has its graph."""
        self.model.warm_up(samples, length if self.model.device.type == "cuda" else _FEW)

    def generate(self, samples: int, length: int) -> Any:
        return self.model.generate(num_samples=samples, length=length, seed=0).cache

    def first_chunk(self, samples: int, steps: int, length: int) -> Any:
        return self.generate(samples, steps)

    def condition(self, observed: np.ndarray[Any, Any], samples: int = 1) -> Any:
        return self.model.condition(observed, samples)

    def own(self, kept: Any) -> Any:
        return kept.clone()

    def resume(self, kept: Any, steps: int) -> Any:
        return self.model.generate(length=steps, cache=kept).cache

    def release(self) -> None:
        from vssm.baselines.cache import release

        release(self.model)
        gc.collect()

    def kept_bytes(self, position: int) -> int:
        return int(self.model.cache_bytes(position))

    def cost(self, samples: int, steps: int, first: int = 0) -> Cost:
        return cost(self.config, samples, steps, first)


def contender(name: str, config: dict[str, Any], device: torch.device) -> Contender:
    """One model: the VSSM of `config`, or the rival whose number of parameters is nearest to its."""
    torch.manual_seed(0)
    model = VSSM(ModelConfig.model_validate(config)).requires_grad_(False).eval()
    if name == "vssm":
        return VssmContender(model.to(device))
    from vssm.baselines import build, match  # they compile with torch, which the VSSM does not

    parameters = sum(p.numel() for p in model.parameters())
    config_of = match("mamba" if name == "mamba" else "transformer", parameters, like=model.config)
    rival = build(config_of).requires_grad_(False).eval()
    return RivalContender(name, rival.to(device))
