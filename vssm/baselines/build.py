"""From a rival's configuration to its networks."""

from __future__ import annotations

from vssm.baselines.config import MambaConfig, RivalConfig, TransformerConfig
from vssm.baselines.mamba import Mamba
from vssm.baselines.rival import Rival
from vssm.baselines.transformer import Transformer


def build(config: RivalConfig) -> Rival:
    """The networks that a configuration describes, freshly initialised."""
    match config:
        case TransformerConfig():
            return Transformer(config)
        case MambaConfig():
            return Mamba(config)
