"""From a configuration, or a checkpoint, to networks."""

from __future__ import annotations

from pathlib import Path
from typing import overload

import torch

from vssm.baselines.config import AnyConfig, MambaConfig, RivalConfig, TransformerConfig
from vssm.baselines.mamba import Mamba
from vssm.baselines.rival import Rival
from vssm.baselines.transformer import Transformer
from vssm.checkpoint import CheckpointError, fill, locate, read_config
from vssm.config import ModelConfig
from vssm.model import VSSM


def load(folder: str | Path, device: str | torch.device = "cpu") -> Rival:
    """The rival of a checkpoint folder, ready to generate on `device`; raises CheckpointError."""
    where = locate(folder)
    config = read_config(where)
    if isinstance(config, ModelConfig):
        raise CheckpointError(f"{where} holds a VSSM, not a rival; vssm.load reads it")
    with torch.device("meta"):
        model = build(config)
    fill(model, where)
    return model.to(device).eval()


@overload
def build(config: RivalConfig) -> Rival: ...


@overload
def build(config: AnyConfig) -> VSSM | Rival: ...


def build(config: AnyConfig) -> VSSM | Rival:
    """The networks that a configuration describes, freshly initialised from torch's default generator."""
    match config:
        case ModelConfig():
            return VSSM(config)
        case TransformerConfig():
            return Transformer(config)
        case MambaConfig():
            return Mamba(config)
