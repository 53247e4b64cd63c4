"""Rivals of a given number of parameters, as deep as the VSSM's decoder that they are compared with."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

import torch

from vssm.baselines.build import build
from vssm.baselines.config import MambaConfig, RivalConfig, TransformerConfig
from vssm.config import ModelConfig

_TOLERANCE = 0.05
_HEAD = 32


def match(family: Literal["transformer", "mamba"], parameters: int, like: ModelConfig) -> RivalConfig:
    """The configuration of a rival whose number of parameters is nearest to `parameters`, for the sequences of `like`.

    Its depth is that of the decoder of `like`. A Transformer has heads of 32 channels and a gated MLP one to four
    times as wide as the model. Raises ValueError when none is within 5 %.
    """
    layers = max(1, sum(level.layers for level in like.levels))
    shared = {name: getattr(like, name) for name in ("description", "modality", "length", "size", "image", "scaling")}
    shared |= {"observation": like.observation}
    if family == "mamba":
        widths = range(8, 4096, 8)
        above = bisect_left(widths, parameters, key=lambda width: count(_mamba(shared, layers, width)))
        near = widths[max(0, above - 1) : above + 1]
        candidates: list[RivalConfig] = [_mamba(shared, layers, width) for width in near]
    else:
        widths = range(_HEAD, 4096, _HEAD)
        shapes = [(w, h) for w in widths for h in _hidden(shared, layers, w, parameters)]
        candidates = [_transformer(shared, layers, *shape) for shape in shapes]
    best = min(candidates, key=lambda config: abs(count(config) - parameters), default=None)
    if best is None or abs(count(best) - parameters) > _TOLERANCE * parameters:
        raise ValueError(f"no {family} of {layers} layers has {parameters} parameters within 5 %")
    return best


def count(config: RivalConfig) -> int:
    """How many parameters the networks of a configuration have."""
    with torch.device("meta"):
        return build(config).parameter_count


def _mamba(shared: dict[str, object], layers: int, width: int) -> MambaConfig:
    return MambaConfig.model_validate({**shared, "layers": layers, "width": width})


def _transformer(shared: dict[str, object], layers: int, width: int, hidden: int) -> TransformerConfig:
    fields = {**shared, "layers": layers, "width": width, "heads": width // _HEAD, "hidden": hidden}
    return TransformerConfig.model_validate(fields)


def _hidden(shared: dict[str, object], layers: int, width: int, parameters: int) -> list[int]:
    """The widths of the MLP that come nearest, if they are sensible: a layer has 3 W weights for each channel of it."""
    if 4 * layers * width * width > parameters:  # the attention alone is larger
        return []
    more = (parameters - count(_transformer(shared, layers, width, width))) / (3 * layers * width)
    near = width + 8 * round(more / 8)
    return [hidden for hidden in (near - 8, near, near + 8) if width <= hidden <= 4 * width]
