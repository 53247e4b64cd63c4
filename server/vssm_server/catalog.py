"""The models of a worker: loaded once, warmed up, and those that could not be, with the reason."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch

import vssm
from vssm import VSSM
from vssm.hub import as_hub_id
from vssm_server.messages import ModelInfo
from vssm_server.settings import Settings

log = logging.getLogger(__name__)


@dataclass
class Catalog:
    """What can be served, and what is wrong with the rest."""

    models: dict[str, VSSM] = field(default_factory=dict)
    infos: dict[str, ModelInfo] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"


def load_catalog(settings: Settings) -> Catalog:
    """Loads the models of the settings; one bad checkpoint does not stop the others."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    catalog = Catalog(device=settings.device)
    for source in _chosen(settings):
        try:
            _load(catalog, source, settings.device)
        except Exception as error:  # a damaged checkpoint must not end the worker, whatever it raises
            log.error("model %s cannot be used: %s", source, error)
            catalog.failed[_name(source)] = _reason(error)
    return catalog


def _chosen(settings: Settings) -> list[str]:
    """Names and folders: those of the settings, or the shipped ones, and all of the models folder."""
    chosen = [name.strip() for name in settings.models.split(",") if name.strip()] or vssm.shipped_models()
    folder = settings.models_dir and settings.models_dir.expanduser()
    if folder is not None and folder.exists() and not folder.is_dir():
        log.error("VSSM_MODELS_DIR is no folder: %s", folder)
    mounted = sorted(folder.glob("*/config.json")) if folder is not None and folder.is_dir() else []
    return chosen + [str(config.parent) for config in mounted]


def _load(catalog: Catalog, source: str, device: str) -> None:
    model = vssm.load(source, device=device)
    info = msgspec.convert({**model.info(), "name": _name(source)}, ModelInfo)
    if info.name in catalog.models:
        raise ValueError(f"the name {info.name!r} is taken by another model; rename the folder, or serve one revision")
    model.warm_up()
    catalog.models[info.name], catalog.infos[info.name] = model, info


def _name(source: str) -> str:
    """A checkpoint folder is served under its own name, one of the hub as owner/name, whatever its revision."""
    hub_id = as_hub_id(source)
    return Path(source).name if hub_id is None else hub_id.repository


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
