"""Small checkpoints as the server's tests serve them."""

from pathlib import Path

import torch

import vssm

LEVEL = {"kind": "gaussian", "size": 3, "layers": 1}
ENCODER = {"kind": "causal", "width": 8, "state": 4, "layers": 1}
BASE = {"levels": [LEVEL], "encoder": ENCODER, "decoder": {"width": 8, "state": 4}}
NO_LATENTS: dict[str, object] = {"levels": [], "encoder": None}
KINDS: dict[str, dict[str, object]] = {
    "image": {
        "length": 8,
        "size": 8,
        "modality": "image",
        "image": {"height": 8, "width": 8},
        "observation": {"kind": "bernoulli"},
    },
    "colour": {
        "length": 4,
        "size": 12,
        "modality": "image",
        "image": {"height": 4, "width": 4, "channels": 3},
        "observation": {"kind": "logistic_mixture", "components": 2},
    },
    "pixels": {"length": 4096, "size": 1, "observation": {"kind": "bernoulli"}},
    "text": {"length": 64, "size": 1, "modality": "text", "observation": {"kind": "categorical", "classes": 256}},
    "series": {"length": 32, "size": 2, "observation": {"kind": "gaussian"}},
    "scaled": {"length": 32, "size": 2, "observation": {"kind": "gaussian"}, "scaling": "prefix"},
    "exact": {
        "length": 64,
        "size": 1,
        "modality": "image",
        "image": {"height": 8, "width": 8},
        "observation": {"kind": "bernoulli"},
        **NO_LATENTS,
        "past": {"near": 3, "far": [4, 8], "layers": 1, "grid": [8, 8]},
    },
    "exact-text": {
        "length": 64,
        "size": 1,
        "modality": "text",
        "observation": {"kind": "categorical", "classes": 256},
        **NO_LATENTS,
        "past": {"near": 3, "far": [4, 5], "layers": 1},
    },
    "exact-colour": {
        "length": 16,
        "size": 3,
        "modality": "image",
        "image": {"height": 4, "width": 4, "channels": 3},
        "observation": {"kind": "logistic_mixture", "components": 2, "context": False},
        **NO_LATENTS,
        "past": {"near": 5, "far": [6, 7], "layers": 1, "grid": [4, 4]},
    },
    "exact-series": {
        "length": 32,
        "size": 2,
        "observation": {"kind": "student_t"},
        "scaling": "prefix",
        **NO_LATENTS,
        "past": {"near": 3, "far": [4, 8], "layers": 1},
    },
    "blind": {
        "length": 16,
        "size": 1,
        "observation": {"kind": "bernoulli"},
        "encoder": {**ENCODER, "kind": "bidirectional"},
    },
    "whole": {
        "length": 16,
        "size": 1,
        "observation": {"kind": "bernoulli"},
        "encoder": {**ENCODER, "kind": "bidirectional", "prefixes": True},
    },
}


def build(kind: str, seed: int = 0) -> vssm.VSSM:
    """A random model."""
    torch.manual_seed(seed)
    model = vssm.VSSM(vssm.ModelConfig.model_validate({**BASE, **KINDS[kind]})).eval()
    with torch.no_grad():
        for parameter in model.past.parameters() if model.past is not None else ():
            parameter.mul_(2.0)  # so that values depend on earlier ones
        if model.past is not None and model.past.near is not None and model.observation.dtype == torch.float32:
            model.past.near.weight.mul_(0.2)  # and numbers do not grow without end
    return model


def exploding() -> vssm.VSSM:
    """Finite weights whose outputs are not."""
    model = build("series").requires_grad_(False)
    for parameter in model.observation.parameters():
        parameter.fill_(1e38)
    return model


def save_all(folder: Path) -> list[Path]:
    """One checkpoint of each kind, and damaged ones: cut short, of wrong shapes, of a wrong version."""
    for kind in KINDS:
        vssm.save(build(kind), folder / kind)
    vssm.save(exploding(), folder / "exploding")
    for name in ("truncated", "shapes", "version"):
        vssm.save(build("pixels"), folder / name)
    weights = folder / "truncated" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (folder / "shapes" / "model.safetensors").write_bytes((folder / "image" / "model.safetensors").read_bytes())
    config = folder / "version" / "config.json"
    config.write_text(config.read_text().replace('"format_version": 1', '"format_version": 99'))
    return [folder / name for name in (*KINDS, "exploding", "truncated", "shapes", "version")]
