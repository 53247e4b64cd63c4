"""The rivals: autoregressive models that take one step after another, as strong as they are usually run.

    model = build(match("mamba", 1_000_000, like=vssm_config))
    out = model.generate(num_samples=4, length=784, seed=0)      # out.values, out.cache

Same sequences, observation heads, checkpoints and training as the VSSM.
"""

from vssm.baselines.build import build, load, load_any
from vssm.baselines.cache import Cache
from vssm.baselines.config import MambaConfig, RivalConfig, TransformerConfig
from vssm.baselines.generate import Generated
from vssm.baselines.mamba import Mamba
from vssm.baselines.rival import Rival
from vssm.baselines.sizes import match
from vssm.baselines.transformer import Transformer

__all__ = [
    "Cache",
    "Generated",
    "Mamba",
    "MambaConfig",
    "Rival",
    "RivalConfig",
    "Transformer",
    "TransformerConfig",
    "build",
    "load",
    "load_any",
    "match",
]
