"""Small rivals of both families, randomly initialised."""

from typing import Any

import torch

from vssm.baselines import MambaConfig, Rival, TransformerConfig, build

FAMILIES = ("transformer", "mamba")
OBSERVATIONS: dict[str, dict[str, Any]] = {
    "bits": {"size": 3, "observation": {"kind": "bernoulli"}},
    "classes": {"size": 2, "observation": {"kind": "categorical", "classes": 5}},
    "pixels": {"size": 6, "observation": {"kind": "logistic_mixture", "components": 2}},
    "tails": {"size": 2, "observation": {"kind": "student_t"}},
    "real": {"size": 2, "observation": {"kind": "gaussian"}},
}


def rival(family: str, kind: str = "bits", seed: int = 0, **changes: Any) -> Rival:
    """A random rival whose distributions are far from even, ready to generate."""
    torch.manual_seed(seed)
    common = {"length": 20, "width": 16, "layers": 2, **OBSERVATIONS[kind], **changes}
    config: TransformerConfig | MambaConfig
    if family == "transformer":
        config = TransformerConfig.model_validate({"heads": 2, "hidden": 24, **common})
    else:
        config = MambaConfig.model_validate({"state": 4, **common})
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(1.5)
    return model.eval().requires_grad_(False)
