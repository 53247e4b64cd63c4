"""Prometheus, Grafana and Jaeger as the compose profile `monitoring` runs them, read as data."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.files import ROOT, compose, defaults, read
from tests.deploy.promql import DASHBOARDS, MONITORING, alert_expressions, asked, dashboard_expressions

SERVICES = ("prometheus", "grafana", "jaeger")


def test_they_run_only_when_asked_for() -> None:
    for name, service in compose().items():
        assert (service.get("profiles") == ["monitoring"]) == (name in SERVICES), name


@pytest.mark.parametrize("name", SERVICES)
def test_they_are_pinned_hardened_bounded_and_published_only_here(name: str) -> None:
    service = compose()[name]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", defaults(port)) for port in service["ports"])


def test_every_file_that_is_mounted_is_there_and_mentioned() -> None:
    mounted = {
        part.split(":")[0]: part.split(":")[1] for name in SERVICES for part in compose()[name].get("volumes", [])
    }
    own = {source: target for source, target in mounted.items() if source.startswith("./")}
    assert all((ROOT / source).exists() for source in own)
    prometheus = read(MONITORING / "prometheus.yml")[0]
    assert set(prometheus["rule_files"]) <= set(own.values())
    [provider] = read(MONITORING / "grafana/provisioning/dashboards/vssm.yml")[0]["providers"]
    assert provider["options"]["path"] in own.values()
    home = compose()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).name in {path.name for path in DASHBOARDS}


def test_one_address_is_scraped() -> None:
    """Each API tells the figures of all, so every further target would count them again."""
    [job] = read(MONITORING / "prometheus.yml")[0]["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["gateway:8000"]}]
    assert set(compose()["prometheus"]["networks"]) & set(compose()["gateway"]["networks"])


def test_the_scrape_is_let_in() -> None:
    """Under a name of the machine where there are no API keys, with a key where there are some."""
    [job] = read(MONITORING / "prometheus.yml")[0]["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    gateway = (ROOT / "docker/haproxy.cfg").read_text()
    assert (
        f"http-request set-header Host localhost if {{ path /metrics }} {{ req.hdr(Host) -m str {target} }}" in gateway
    )
    mounted = [defaults(volume).split(":") for volume in compose()["prometheus"]["volumes"]]
    assert ["/dev/null", job["authorization"]["credentials_file"], "ro"] in mounted


def test_data_sources_are_services() -> None:
    sources = {
        source["uid"]: source
        for source in read(MONITORING / "grafana/provisioning/datasources/vssm.yml")[0]["datasources"]
    }
    for source in sources.values():
        assert re.fullmatch(r"http://(\w+):\d+", source["url"])[1] in SERVICES  # type: ignore[index]
    for path in DASHBOARDS:
        used = set(re.findall(r'"datasource": \{\s*"type": "\w+",\s*"uid": "(\w+)"', path.read_text()))
        assert used, path
        assert used <= set(sources)


def test_panels_have_their_place() -> None:
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(taken)) == len(taken)
        assert max(x for x, _ in taken) < 24


def test_every_expression_is_promql() -> None:
    expressions = [*alert_expressions(), *(one for path in DASHBOARDS for one in dashboard_expressions(path))]
    assert len(expressions) > 30
    assert all(list(asked(expression)) for expression in expressions)


def test_reasons_in_alerts_are_known() -> None:
    from vssm_server.errors import STATUS

    named = [re.findall(r'reason=~?"([^"]*)"', expression) for expression in alert_expressions()]
    assert {reason for group in named for text in group for reason in text.split("|")} <= set(STATUS)


def test_compose_accepts_the_profile() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("docker compose is not installed")
    command = ["docker", "compose", "--env-file", "/dev/null", "--profile", "monitoring", "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(SERVICES) <= set(json.loads(done.stdout)["services"])
