"""Prometheus of the profile `monitoring`, asked by its HTTP API."""

import math
from pathlib import Path
from typing import Any

import httpx

from tests.compose.stack import Stack
from tests.e2e.serving import free_port


class Prometheus:
    """Of a stack; started anew where its settings changed."""

    def __init__(self, stack: Stack) -> None:
        port = free_port()
        stack.set(VSSM_PROMETHEUS_PORT=str(port))
        self._stack = stack
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1/", timeout=10)

    def up(self, key_file: Path | None = None) -> None:
        """Starts it; with a file, it scrapes with the key in that."""
        self._stack.set(VSSM_METRICS_KEY_FILE="" if key_file is None else str(key_file))
        self._stack.up("prometheus")

    def close(self) -> None:
        """Nothing is asked any more."""
        self._client.close()

    def ask(self, path: str, **parameters: str) -> dict[str, Any]:
        """The data of an answer. Raises httpx.HTTPStatusError, for what is no PromQL too."""
        data: dict[str, Any] = self._client.get(path, params=parameters).raise_for_status().json()["data"]
        return data

    def values(self, expression: str) -> list[float]:
        """Of all series of a PromQL expression that have one now."""
        numbers = [float(series["value"][1]) for series in self.ask("query", query=expression)["result"]]
        return [number for number in numbers if not math.isnan(number)]

    def active(self) -> set[str]:
        """Names of alerts whose condition holds, firing or not yet."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"]}

    def complaints(self) -> set[str]:
        """What went wrong in the last scrape of each target."""
        return {target["lastError"] for target in self.ask("targets")["activeTargets"]}
