"""A real Prometheus on the real service: what the dashboard asks has an answer, and alerts tell the truth."""

import pytest

from tests.compose.monitoring import Prometheus
from tests.compose.stack import Stack
from tests.deploy.promql import DASHBOARDS, alert_expressions, dashboard_expressions
from tests.e2e.serving import until


@pytest.fixture(scope="module", autouse=True)
def scraped(stack: Stack, prometheus: Prometheus) -> None:
    """Without API keys."""
    stack.up()
    prometheus.up()


def use(stack: Stack) -> None:
    """One of everything that is counted."""
    body = {"model": "mnist", "length": 3}
    stack.stream(**body)
    for _ in range(2):
        stack.client.post("/generate", json=body, headers={"Idempotency-Key": "monitoring"}).raise_for_status()
    stack.generate(**body, save=True)
    assert stack.client.get("/sessions/none").status_code == 404


def test_every_panel_has_data(stack: Stack, prometheus: Prometheus) -> None:
    """A rate has a value after the second scrape, so the service is used until all have one."""
    expressions = {one for path in DASHBOARDS for one in dashboard_expressions(path)}
    assert len(expressions) > 30

    def answered() -> bool:
        use(stack)
        return all(prometheus.values(expression) for expression in expressions)

    until(answered)
    assert min(prometheus.values("sum(rate(vssm_requests_total[1m]))")) > 0


def test_alerts_tell_the_truth(stack: Stack, prometheus: Prometheus) -> None:
    """All are loaded; none is active until there is a reason."""
    [group] = prometheus.ask("rules")["groups"]
    assert len(group["rules"]) == len(list(alert_expressions()))
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert prometheus.active() == set()
    stack.compose("stop", "worker")
    until(lambda: prometheus.active() == {"VssmNoWorker"})
    stack.up()
    until(lambda: prometheus.active() == set())
