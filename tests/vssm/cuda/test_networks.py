"""Networks of Triton kernels against the torch modules, and their bits against themselves: cut and in any batch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.vssm.models import build
from vssm import VSSM
from vssm.cuda.linear import Precision
from vssm.cuda.networks import TritonNetworks
from vssm.networks import Networks, ReferenceNetworks

LINEAR: dict[str, Any] = {"decoder": {"width": 18, "state": 5, "linear": True}}
FLAT: dict[str, Any] = {
    "levels": [{"kind": "gaussian", "size": 3, "layers": 0}, {"kind": "gaussian", "size": 17, "layers": 1}]
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": ("rows", {}), "levels": ("levels", {}), "linear": ("pixels", LINEAR), "flat": ("series", FLAT),
}  # fmt: skip


def run(networks: Networks, model: VSSM, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Everything that a pass asks of networks; from `given` features, base noise, states and last steps."""
    results: dict[str, Tensor] = {}
    last = given["last"]
    e, results["encoder"] = networks.encode(given["features"], given["encoder"], last)
    for latents in ("prior", "posterior"):
        d: Tensor | None = None
        for k in range(len(model.levels)):
            noise, before = given[f"noise{k}"], given[f"level{k}"]
            z = networks.prior(k, d, noise) if latents == "prior" else networks.posterior(k, e, d, noise)
            prior = networks.prior_params(k, d)
            results[f"{latents} q{k}"] = networks.posterior_params(k, e, d)
            results |= {} if prior is None else {f"{latents} p{k}": prior}
            d, results[f"{latents} level{k}"] = networks.decode(k, z, d, before, last)
            results |= {f"{latents} z{k}": z, f"{latents} d{k}": d}
        assert d is not None
        results[f"{latents} params"] = networks.params(d)
    return results


def inputs(model: VSSM, rows: int, steps: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(rows)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random).to(model.device)

    states = {name: draw(*v.shape) for name, v in model.start(rows, 0).tensors.items()}
    noise = {f"noise{k}": draw(rows, steps, level.latent.size) for k, level in enumerate(model.levels)}
    assert model.embed is not None
    features = draw(rows, steps, model.embed.in_features)
    return {"features": features, "last": torch.full((rows,), steps - 1, device=model.device)} | states | noise


def part(given: dict[str, Tensor], rows: slice, steps: slice) -> dict[str, Tensor]:
    """Some rows and steps of it."""
    timed = {k: v[rows, steps] for k, v in given.items() if k.startswith(("features", "noise")) and k != "noise"}
    length = len(range(*steps.indices(given["features"].shape[1])))
    return {k: v[rows] for k, v in given.items()} | timed | {"last": torch.full_like(given["last"][rows], length - 1)}


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bf16", 6e-2)])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_they_are_the_modules(name: str, precision: Precision, tolerance: float, device: torch.device) -> None:
    kind, changes = MODELS[name]
    model = build(kind, **changes).to(device)
    given = inputs(model, 2, 14)
    given["last"][1] = 4
    found, expected = run(TritonNetworks(model, precision), model, given), run(ReferenceNetworks(model), model, given)
    assert found.keys() == expected.keys()
    for key, wanted in expected.items():
        assert found[key].shape == wanted.shape, key
        if precision == "bf16" and name == "levels" and key.startswith("posterior"):
            continue  # rounded logits choose other classes now and then
        if wanted.numel():
            assert float((found[key] - wanted).abs().amax()) <= tolerance * float(wanted.abs().amax()), key


@pytest.mark.parametrize(("name", "precision"), [("rows", "bf16"), ("levels", "float32")])
@torch.no_grad()
def test_a_cut_and_a_batch_change_no_bit(name: str, precision: Precision, device: torch.device) -> None:
    kind, changes = MODELS[name]
    model = build(kind, **changes).to(device)
    networks = TritonNetworks(model, precision)
    given = inputs(model, 2, 20)
    whole = run(networks, model, given)
    rows = slice(1, 2)
    head = run(networks, model, part(given, rows, slice(0, 6)))
    later = part(given, rows, slice(6, 20))
    for latents in ("prior", "posterior"):  # each with the states that its own first part left
        states = {f"level{k}": head[f"{latents} level{k}"] for k in range(len(model.levels))}
        tail = run(networks, model, later | states | {"encoder": head["encoder"]})
        for key in (key for key in whole if key.startswith((latents, "encoder"))):
            timed = whole[key].shape[1] == 20 and whole[key].dim() > 2 and not key.split()[-1].startswith("level")
            found = torch.cat([head[key], tail[key]], 1) if timed else tail[key]
            assert torch.equal(found, whole[key][rows]), key
