"""What a PromQL expression asks for: names of metrics and of labels."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser as promql

from tests.deploy.files import ROOT, read

MONITORING = ROOT / "docker" / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
Asked = tuple[str, frozenset[str]]  # a metric, and labels that it must have


def dashboard_expressions(path: Path) -> Iterator[str]:
    """All queries of a dashboard, its variables put in as Grafana would; its variables' own included."""
    dashboard = json.loads(path.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m").replace("$model", ".*")
    for variable in dashboard["templating"]["list"]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
        yield f"count by ({label}) ({metric})"


def alert_expressions() -> Iterator[str]:
    """The conditions of all alerts."""
    for group in read(MONITORING / "alerts.yml")[0]["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def asked(expression: str) -> Iterator[Asked]:
    """Each metric of an expression with the labels that are matched on or grouped by. Raises ValueError."""
    yield from _asked(promql.parse(expression), frozenset())


def _asked(node: promql.Expr, labels: frozenset[str]) -> Iterator[Asked]:
    if isinstance(node, promql.VectorSelector):
        assert node.name is not None, f"no metric in {node}"
        yield node.name, labels | {matcher.name for matcher in node.matchers.matchers}
    elif isinstance(node, promql.MatrixSelector):
        yield from _asked(node.vector_selector, labels)
    elif isinstance(node, promql.AggregateExpr):
        by = node.modifier.labels if node.modifier is not None else []
        yield from _asked(node.expr, labels | set(by))
    elif isinstance(node, promql.Call):
        for argument in node.args:
            yield from _asked(argument, labels)
    elif isinstance(node, promql.BinaryExpr):
        yield from _asked(node.lhs, labels)
        yield from _asked(node.rhs, labels)
    elif isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        yield from _asked(node.expr, labels)
    else:
        assert isinstance(node, promql.NumberLiteral | promql.StringLiteral), f"{type(node)} is not looked into"
