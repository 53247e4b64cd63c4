"""A file of API keys for tests, and the keys themselves."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vssm_server import keyfile
from vssm_server.keyring import Document, Scope, make


def keys_in(folder: Path, scopes: Mapping[str, tuple[Scope, ...]]) -> tuple[Path, dict[str, str]]:
    """A file in the folder, and the key of each name; `late`, who may do all, has expired."""
    path = folder / "keys.json"
    made = {name: make(name, allowed, None) for name, allowed in scopes.items()}
    made["late"] = make("late", ("admin",), datetime.now(UTC) - timedelta(seconds=1))
    keyfile.change(path, lambda _: Document(tuple(key for key, _ in made.values())))
    return path, {name: text for name, (_, text) in made.items()}
