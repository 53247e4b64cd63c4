"""Device and models, with a small generation of each. Needs the model library."""

import os
import time
from collections.abc import Iterator

import numpy as np
import torch

from vssm import VSSM
from vssm_server import device
from vssm_server.catalog import load_catalog
from vssm_server.check.finding import Finding, advise, good, wrong
from vssm_server.settings import Settings

STEPS = 8


def computing(chosen: Settings) -> Iterator[Finding]:
    """The device, and whether it is the best one here."""
    found, cores = device.look(chosen.device), os.cpu_count() or 1
    if not _usable(chosen.device):
        advice = "VSSM_DEVICE is cpu or cuda:0, with a GPU, its driver and a PyTorch built for it (pytorch.org)"
        yield wrong("device", f"{chosen.device} cannot be used with torch {torch.__version__}", advice)
        return
    yield good(
        "device", f"{found.name}: {found.model}, {found.memory_total_bytes / 2**30:.0f} GiB, torch {torch.__version__}"
    )
    if found.kind == "cpu" and torch.cuda.is_available():
        yield advise("device", f"{torch.cuda.get_device_name(0)} is not used", "set VSSM_DEVICE=cuda:0")
    if chosen.workers * max(1, chosen.threads) > cores:
        text = f"{chosen.workers} workers x {max(1, chosen.threads)} threads on {cores} cores"
        yield advise("device", text, "lower VSSM_WORKERS or VSSM_THREADS: threads that wait for each other cost speed")


def _usable(name: str) -> bool:
    try:
        return float(torch.ones(2, device=name).sum()) == 2.0
    except (RuntimeError, AssertionError):
        return False


def models(chosen: Settings) -> Iterator[Finding]:
    """Each is loaded, and makes a few steps: whole, and in two parts, which must be the same values."""
    if not _usable(chosen.device):
        return
    catalog = load_catalog(chosen)
    for name, why in catalog.failed.items():
        yield wrong("models", f"{name}: {why}", "correct or remove it from VSSM_MODELS or VSSM_MODELS_DIR")
    for name, model in catalog.models.items():
        yield from _generation(name, model)
    if not catalog.models:
        yield wrong("models", "none can be served", "set VSSM_MODELS, or leave it empty for the shipped ones")
    elif len(catalog.models) > 1 and chosen.default_model not in catalog.models:
        advice = f"set VSSM_DEFAULT_MODEL to one of {', '.join(sorted(catalog.models))}"
        yield advise("models", f"requests must name one: {chosen.default_model!r} is not served", advice)


def _generation(name: str, model: VSSM) -> Iterator[Finding]:
    half = max(1, min(STEPS, model.config.length) // 2)
    try:
        began = time.perf_counter()
        whole = model.generate(num_samples=2, length=2 * half, seed=1)
        ms = (time.perf_counter() - began) * 1e3
        first = model.generate(num_samples=2, length=half, seed=1)
        rest = model.generate(state=first.state, length=half)
    except Exception as error:  # whatever it is, it would be the answer to a request
        yield wrong(
            "models", f"{name}: generation failed: {error}", "look at the checkpoint's card; train or fetch it again"
        )
        return
    if not np.array_equal(np.concatenate([first.values, rest.values], axis=1), whole.values):
        advice = "please report it, with the processor's name and the versions of torch and numba"
        yield wrong("models", f"{name}: two parts are not the values of the whole", advice)
    else:
        size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        yield good("models", f"{name}: {size:.2f} M parameters, {2 * half} steps in {ms:.1f} ms, resumed alike")
