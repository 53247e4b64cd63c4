"""Rivals of a given number of parameters, as deep as the VSSM's decoder that they are compared with."""

from __future__ import annotations

from typing import Literal

import torch

from vssm.baselines.build import build
from vssm.baselines.config import MambaConfig, RivalConfig, TransformerConfig
from vssm.config import ModelConfig

_TOLERANCE = 0.05
_HEAD = 32


def match(family: Literal["transformer", "mamba"], parameters: int, like: ModelConfig) -> RivalConfig:
    """The configuration of a rival whose number of parameters is nearest to `parameters`, for the sequences of `like`.

    Its depth is that of the decoder of `like`. A Transformer has heads of 32 channels and a gated MLP between 1.5 and 4
    times as wide as the model. Raises ValueError when none is within 5 %.
    """
    layers = max(1, sum(level.layers for level in like.levels))
    shared = {name: getattr(like, name) for name in ("description", "modality", "length", "size", "image")}
    shared |= {"observation": like.observation}
    candidates: list[RivalConfig] = []
    for width in range(8, 2048, 8):
        if family == "mamba":
            candidates.append(MambaConfig(**shared, layers=layers, width=width))
        elif width % _HEAD == 0:
            candidates += [_transformer(shared, layers, width, hidden) for hidden in _hidden(width, layers, parameters)]
    best = min(candidates, key=lambda config: abs(count(config) - parameters))
    if abs(count(best) - parameters) > _TOLERANCE * parameters:
        raise ValueError(
            f"no {family} of {layers} layers has {parameters} parameters within 5 %, the nearest has {count(best)}"
        )
    return best


def count(config: RivalConfig) -> int:
    """How many parameters the networks of a configuration have."""
    with torch.device("meta"):
        return build(config).parameter_count


def _transformer(shared: dict[str, object], layers: int, width: int, hidden: int) -> TransformerConfig:
    fields = {**shared, "layers": layers, "width": width, "heads": width // _HEAD, "hidden": hidden}
    return TransformerConfig.model_validate(fields)


def _hidden(width: int, layers: int, parameters: int) -> list[int]:
    """The width of the MLP that comes nearest, if it is a sensible one: a layer has 4 W^2 + 3 W x hidden weights."""
    wanted = (parameters / layers - 4 * width * width) / (3 * width)
    near = 8 * round(wanted / 8)
    return [hidden for hidden in (near - 16, near - 8, near, near + 8) if 1.5 * width <= hidden <= 4 * width]
