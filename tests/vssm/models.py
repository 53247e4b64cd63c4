"""Small models of every kind, randomly initialised."""

import torch

from vssm import VSSM, ModelConfig

GAUSSIAN = {"kind": "gaussian", "size": 5, "layers": 1}
FLOW = {"kind": "gaussian", "size": 6, "layers": 1, "couplings": 3}
CATEGORICAL = {"kind": "categorical", "groups": 2, "classes": 4, "layers": 1}
CAUSAL = {"kind": "causal", "width": 16, "state": 6, "layers": 2, "sees_noise": True}
DECODER = {"width": 16, "state": 6}
PAST = {"near": 2, "far": [3, 4, 7], "layers": 2, "grid": [3, 4]}
NO_LATENTS: dict[str, object] = {"levels": [], "encoder": None}

KINDS: dict[str, dict[str, object]] = {
    "rows": {"size": 7, "observation": {"kind": "bernoulli"}, "levels": [GAUSSIAN, GAUSSIAN]},
    "pixels": {"size": 1, "observation": {"kind": "bernoulli"}, "levels": [GAUSSIAN]},
    "levels": {"size": 3, "observation": {"kind": "categorical", "classes": 6}, "levels": [CATEGORICAL, GAUSSIAN]},
    "paper": {"size": 1, "observation": {"kind": "categorical", "classes": 9}, "levels": [CATEGORICAL]},
    "flow": {"size": 7, "observation": {"kind": "bernoulli"}, "levels": [FLOW, FLOW]},
    "rgb": {"size": 12, "observation": {"kind": "logistic_mixture", "components": 3}, "levels": [GAUSSIAN]},
    "tails": {"size": 3, "observation": {"kind": "student_t"}, "levels": [GAUSSIAN]},
    "series": {"size": 2, "observation": {"kind": "gaussian"}, "levels": [GAUSSIAN]},
    "exact": {"size": 1, "observation": {"kind": "bernoulli"}, "past": PAST, **NO_LATENTS},
    "exact classes": {"size": 2, "observation": {"kind": "categorical", "classes": 5}, "past": PAST, **NO_LATENTS},
    "exact pixels": {
        "size": 3,
        "observation": {"kind": "logistic_mixture", "components": 2, "context": False},
        "past": PAST,
        **NO_LATENTS,
    },
    "exact numbers": {"size": 2, "observation": {"kind": "student_t"}, "past": PAST, **NO_LATENTS},
    "exact normal": {"size": 2, "observation": {"kind": "gaussian"}, "past": PAST, "scaling": "prefix", **NO_LATENTS},
    "hybrid": {"size": 2, "observation": {"kind": "student_t"}, "levels": [GAUSSIAN], "past": PAST},
    "scaled": {"size": 2, "observation": {"kind": "gaussian"}, "levels": [GAUSSIAN], "scaling": "prefix"},
}
ENCODED = [kind for kind in sorted(KINDS) if KINDS[kind].get("levels")]  # those with an encoder
EXACT = ["exact", "exact classes", "exact pixels", "exact numbers", "exact normal", "hybrid"]
WEIGHED = sorted(set(KINDS) - {"rgb", "flow", *EXACT})  # those whose latent paths can be weighed: `vssm.weights`


def config(kind: str, **changes: object) -> ModelConfig:
    """The configuration of one of KINDS, with fields changed."""
    return ModelConfig.model_validate({"length": 12, "encoder": CAUSAL, "decoder": DECODER, **KINDS[kind], **changes})


def build(kind: str, seed: int = 0, **changes: object) -> VSSM:
    """A random model whose outputs are far from constant, ready to generate."""
    torch.manual_seed(seed)
    model = VSSM(config(kind, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(1.5)
        if model.past is not None and model.past.near is not None and model.observation.dtype == torch.float32:
            model.past.near.weight.mul_(0.3)  # real numbers that begin near the one before would grow without end
    return model.eval().requires_grad_(False)
