"""Every metric and label that a dashboard or an alert names is in a real scrape."""

from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.promql import DASHBOARDS, alert_expressions, asked, dashboard_expressions
from tests.e2e.serving import Serve, until

PROMETHEUS_OWN = {"up": {"job", "instance"}}  # Prometheus itself makes these


def scraped(serve: Serve) -> dict[str, set[str]]:
    """Names of samples, and the labels that each of them has."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(serve.client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set(sample.labels)).intersection_update(sample.labels)
    return found


def provoke(serve: Serve) -> None:
    """One of everything that is counted when it happens first."""
    body = {"model": "pixels", "length": 3}
    for _ in range(2):
        serve.client.post("/generate", json=body, headers={"Idempotency-Key": "monitoring"}).raise_for_status()
    serve.stream(**body)


def test_every_metric_of_a_dashboard_or_an_alert_is_in_a_scrape(serve: Serve) -> None:
    provoke(serve)
    until(lambda: "vssm_time_to_first_chunk_seconds_bucket" in scraped(serve), 5)
    found = PROMETHEUS_OWN | scraped(serve)
    expressions = [*alert_expressions(), *(one for path in DASHBOARDS for one in dashboard_expressions(path))]
    wanted = {pair for expression in expressions for pair in asked(expression)}
    assert len(wanted) > 20
    missing = {(name, *labels) for name, labels in wanted if not labels <= found.get(name, set()) or name not in found}
    assert not missing


def test_every_metric_is_shown(serve: Serve) -> None:
    """The dashboard leaves nothing out that the service tells."""
    provoke(serve)
    shown = {name for path in DASHBOARDS for one in dashboard_expressions(path) for name, _ in asked(one)}
    families = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in shown}
    told = {
        family.name if family.type != "counter" else f"{family.name}_total"
        for family in text_string_to_metric_families(serve.client.get("/metrics").text)
    }
    assert told <= families | shown
