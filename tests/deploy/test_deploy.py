"""What no schema sees: that the files which deploy the service agree with each other and with the code."""

import importlib.metadata
import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from vssm_server import keys
from vssm_server.settings import Settings

from tests.deploy.files import KUBERNETES, ROOT, compose, container, defaults, deployments, read

SETTINGS = {f"VSSM_{name.upper()}" for name in Settings.model_fields}
SERVER = ("api", "worker")


def environment(deployment: dict[str, Any]) -> dict[str, Any]:
    """The variables that a Deployment sets."""
    return {variable["name"]: variable.get("value") for variable in container(deployment)["env"]}


def test_every_variable_is_a_setting() -> None:
    given = [compose()[name]["environment"] for name in SERVER] + [environment(d) for d in deployments().values()]
    given += [read(ROOT / "docker" / "stack.yml")[0]["services"][name]["environment"] for name in SERVER]
    dockerfile = re.findall(r"\b(VSSM_\w+)=", (ROOT / "docker" / "Dockerfile").read_text())
    names = {name for variables in [*given, dockerfile] for name in variables if name.startswith("VSSM_")}
    assert names <= SETTINGS


def test_everybody_signs_and_apis_ask_for_keys() -> None:
    """Under Compose the file of API keys is chosen by a variable, as there one may do without on loopback."""
    stack: dict[str, dict[str, Any]] = read(ROOT / "docker" / "stack.yml")[0]["services"]
    pods = deployments()
    for name in SERVER:
        given = (compose()[name]["environment"], stack[name]["environment"], environment(pods[f"vssm-{name}"]))
        assert all("VSSM_SIGNING_KEY" in variables for variables in given), name
        assert all(("VSSM_API_KEYS_FILE" in variables) == (name == "api") for variables in given), name
    assert compose()["api"]["volumes"][0] in compose()["worker"]["volumes"]


def test_values_are_valid_settings() -> None:
    for name in SERVER:
        given = {key: value for key, value in compose()[name]["environment"].items() if key.startswith("VSSM_")}
        values = {key.removeprefix("VSSM_").lower(): defaults(value) for key, value in given.items()}
        assert Settings.model_validate(values).redis_url == "redis://:vssm@redis:6379/0"


def test_there_is_time_to_drain() -> None:
    for service in SERVER:
        drain = float(compose()[service]["environment"]["VSSM_DRAIN_SECONDS"])
        assert float(compose()[service]["stop_grace_period"].removesuffix("s")) >= drain + 10
    for deployment in deployments().values():
        pod = deployment["spec"]["template"]["spec"]
        drain = float(environment(deployment).get("VSSM_DRAIN_SECONDS", Settings().drain_seconds))
        before = float(
            container(deployment).get("lifecycle", {}).get("preStop", {"exec": {"command": [0]}})["exec"]["command"][-1]
        )
        assert pod["terminationGracePeriodSeconds"] >= before + drain + 10


@pytest.mark.parametrize("name", ["gateway", "api", "worker", "redis"])
def test_services_are_hardened_and_bounded(name: str) -> None:
    service = compose()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert service["logging"]["options"]["max-size"]
    assert "test" in service["healthcheck"]


def test_only_the_gateway_is_published_and_only_here() -> None:
    published = {
        name: service["ports"]
        for name, service in compose().items()
        if "ports" in service and "profiles" not in service  # of the others tests/deploy/test_monitoring.py takes care
    }
    assert {name: list(map(defaults, ports)) for name, ports in published.items()} == {
        "gateway": ["127.0.0.1:8000:8000"]
    }


def test_redis_keeps_everything_or_says_no() -> None:
    lines = [line.strip() for line in compose()["redis"]["command"][-1].splitlines()]
    assert "maxmemory-policy noeviction" in lines
    assert "appendonly yes" in lines


def test_pods_are_hardened_and_selected() -> None:
    for name, deployment in deployments().items():
        spec = deployment["spec"]
        pod = spec["template"]["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == {"app": name}
        assert "replicas" not in spec, "an autoscaler owns it"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["enableServiceLinks"] is False
        assert container(deployment)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_keda_watches_the_stream_of_jobs() -> None:
    [scaled] = read(KUBERNETES / "base" / "keda-worker.yaml")
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == keys.JOBS
    assert scaled["spec"]["scaleTargetRef"]["name"] in deployments()
    assert trigger["metadata"]["addressFromEnv"] in environment(deployments()["vssm-worker"])
    [authentication] = read(KUBERNETES / "base" / "keda-authentication.yaml")
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]


def test_every_key_of_the_secret_is_in_the_example() -> None:
    [secret] = read(KUBERNETES / "secret.example.yaml")
    text = "".join(path.read_text() for path in (KUBERNETES / "base").glob("*.yaml"))
    used = set(re.findall(rf"name: {secret['metadata']['name']}, key: ([\w.]+)", text))
    assert used == set(secret["stringData"])


def test_kustomization_names_every_file() -> None:
    [kustomization] = read(KUBERNETES / "base" / "kustomization.yaml")
    files = {path.name for path in (KUBERNETES / "base").glob("*.yaml")}
    assert {*kustomization["resources"], "kustomization.yaml"} == files


def test_one_version() -> None:
    version = importlib.metadata.version("vssm-server")
    tags = [
        image["newTag"]
        for folder in ("base", "cpu")
        for image in read(KUBERNETES / folder / "kustomization.yaml")[0]["images"]
    ]
    assert {tag.removesuffix("-gpu") for tag in tags} == {version}
    assert {defaults(service["image"]).split(":")[1] for service in compose().values() if "build" in service} == {
        version
    }
    assert f"ARG VERSION={version}\n" in (ROOT / "docker" / "Dockerfile").read_text()


def test_constraints_fit_what_the_packages_ask_for() -> None:
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    asked = [
        Requirement(line)
        for file in ("pyproject.toml", "server/pyproject.toml")
        for line in _wanted(tomllib.loads((ROOT / file).read_text())["project"])
    ]
    assert "torch" not in pinned
    for requirement in asked:
        name = canonicalize_name(requirement.name)
        assert name == "torch" or pinned[name] in requirement.specifier, requirement


def _wanted(project: dict[str, Any]) -> list[str]:
    """What the images install of a package."""
    wanted: list[str] = project["dependencies"] + project["optional-dependencies"].get("tracing", [])
    return wanted
