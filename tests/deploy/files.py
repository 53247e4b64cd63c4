"""What is deployed, read as data."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"


def read(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return list(YAML(typ="safe").load_all(path))


def compose() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml."""
    services: dict[str, dict[str, Any]] = read(ROOT / "docker-compose.yml")[0]["services"]
    return services


def deployments() -> dict[str, dict[str, Any]]:
    """The Deployments for Kubernetes by name."""
    documents = [document for name in ("api", "worker") for document in read(KUBERNETES / "base" / f"{name}.yaml")]
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == "Deployment"}


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    """The only container of a Deployment."""
    [only] = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def defaults(value: str) -> str:
    """A value of docker-compose.yml as it is when no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
