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


def load(source: str | Path, device: str | torch.device = "cpu") -> Rival:
    """The rival of a checkpoint folder or hub id, ready to generate on `device`; raises CheckpointError."""
    model = load_any(source, device)
    if not isinstance(model, Rival):
        raise CheckpointError(f"{source} holds a VSSM, not a rival; vssm.load reads it")
    return model


def load_any(source: str | Path, device: str | torch.device = "cpu") -> VSSM | Rival:
    """The model of a shipped name, folder or hub id, of whatever family, ready on `device`; raises CheckpointError."""
    folder = locate(source)
    with torch.device("meta"):
        model = build(read_config(folder))
    fill(model, folder)
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
