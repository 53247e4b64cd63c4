"""Checkpoints: a folder with config.json, model.safetensors and a model card (README.md). Never pickle.

config.json is {"format_version": 1, "config": {...}}: a ModelConfig or, with a "family", a rival's. Loading builds the
networks on the meta device and then demands exactly their names, shapes and dtypes: a folder that does not fit is
refused before memory is taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vssm.config import ModelConfig, SequenceConfig

if TYPE_CHECKING:
    from vssm.baselines.config import AnyConfig
    from vssm.baselines.rival import Rival
    from vssm.model import VSSM

FORMAT_VERSION = 1
MAX_CONFIG_BYTES = 1 << 20
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what is wrong and what would be right."""


def shipped_folder() -> Path:
    """Where the checkpoints that come with the package lie, one folder a name."""
    return Path(str(files("vssm"))) / "checkpoints"


def shipped_models() -> list[str]:
    """Names of the checkpoints that come with the package."""
    folder = shipped_folder()
    return sorted(p.parent.name for p in folder.glob(f"*/{CONFIG}")) if folder.is_dir() else []


def locate(name_or_folder: str | Path) -> Path:
    """The folder of a shipped name, of a folder's path, or of a hub id (then downloaded); raises CheckpointError."""
    from vssm.hub import as_hub_id, fetch

    if (hub_id := as_hub_id(name_or_folder)) is not None:
        return fetch(hub_id)
    shipped = shipped_models()
    if str(name_or_folder) in shipped:
        return shipped_folder() / str(name_or_folder)
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        raise CheckpointError(
            f"no model named {str(name_or_folder)!r}: give a shipped name ({', '.join(shipped) or 'none here'}), "
            f"a folder with {CONFIG} and {WEIGHTS}, or a hub id (owner/name, owner/name@revision)"
        )
    return folder


def save(model: VSSM | Rival, folder: str | Path, card: str | None = None) -> None:
    """Write config and weights (and a model card) into `folder`, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    document = {"format_version": FORMAT_VERSION, "config": model.config.model_dump(mode="json")}
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n")
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors leaves it to its owner alone
    if card is not None:
        (folder / CARD).write_text(card)


def load(name_or_folder: str | Path, device: str | torch.device = "cpu") -> VSSM:
    """The model of a shipped name, a checkpoint folder or a hub id, on `device`, ready; raises CheckpointError.

    In this order. A hub id is `owner/name` or `owner/name@revision` on the Hugging Face hub (see `vssm.hub`).
    """
    from vssm.model import VSSM

    folder = locate(name_or_folder)
    config = read_config(folder)
    if not isinstance(config, ModelConfig):
        raise CheckpointError(f"{folder} holds a {config.family}, not a VSSM; vssm.baselines.load reads it")
    with torch.device("meta"):
        model = VSSM(config)
    fill(model, folder)
    return model.to(device).eval()


def fill(model: nn.Module, folder: Path) -> None:
    """Give networks on the meta device the weights of a checkpoint; raises CheckpointError when they do not fit."""
    expected = model.state_dict()
    model.load_state_dict(_read_weights(folder / WEIGHTS, expected), strict=True, assign=True)
    model.requires_grad_(False)


def check(folder: Path) -> AnyConfig:
    """Load a checkpoint of any family as strictly as `load`, and return its configuration; raises CheckpointError."""
    from vssm.baselines.build import load_any

    return load_any(folder).config


def fingerprint_of(config: SequenceConfig, weights: Mapping[str, Tensor]) -> str:
    """blake2b-256 of the config (without its description) and all weights by name, 64 hex digits."""
    digest = blake2b(digest_size=32)
    digest.update(json.dumps(config.model_dump(mode="json", exclude={"description"}), sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def read_config(folder: Path) -> AnyConfig:
    """The configuration in a checkpoint folder, of whatever family; raises CheckpointError."""
    from vssm.baselines.config import FAMILIES, AnyConfig

    path = folder / CONFIG
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path} has more than {MAX_CONFIG_BYTES} bytes")
        document = json.loads(data)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(document, dict) or set(document) != {"format_version", "config"}:
        raise CheckpointError(f"{path} must hold exactly 'format_version' and 'config'")
    if document["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {document['format_version']!r}; this release reads version {FORMAT_VERSION}"
        )
    try:
        config: AnyConfig = TypeAdapter(AnyConfig).validate_python(document["config"])
        return config
    except ValidationError as error:
        first = error.errors()[0]
        parts = first["loc"][1:] if first["loc"][:1] and first["loc"][0] in FAMILIES else first["loc"]
        place = ".".join(str(p) for p in parts)
        raise CheckpointError(f"{path}: {place}: {first['msg']}") from None


def _read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if names != set(expected):
                raise CheckpointError(f"{path} {_names_differ(names, set(expected))}")
            for name, tensor in expected.items():
                _check_tensor(path, name, file.get_slice(name), tensor)
            weights = {name: file.get_tensor(name) for name in expected}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file: {error}") from None
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    return weights


def _names_differ(names: set[str], expected: set[str]) -> str:
    missing, surplus = sorted(expected - names), sorted(names - expected)
    parts = [f"lacks {missing[0]!r} ({len(missing)} missing)"] if missing else []
    parts += [f"has the unknown {surplus[0]!r} ({len(surplus)} unknown)"] if surplus else []
    return f"{' and '.join(parts)}: weights and config do not belong together"


def _check_tensor(path: Path, name: str, found: Any, expected: Tensor) -> None:
    if found.get_dtype() != "F32":
        raise CheckpointError(f"{path}: {name} has dtype {found.get_dtype()}, needed is F32")
    if tuple(found.get_shape()) != tuple(expected.shape):
        raise CheckpointError(f"{path}: {name} has shape {tuple(found.get_shape())}, needed is {tuple(expected.shape)}")
