"""The services of docker-compose.yml under a project name and a port of their own, and what tests do to them."""

import json
import os
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.serving import free_port, parse, until

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "api", "worker", "redis")
COMPOSE = ("compose", "--env-file", os.devnull)
PATIENCE_SECONDS = 60.0


class Stack:
    """Up between `start` and `remove`; everything goes through its one published address."""

    def __init__(self, checkpoints: Path) -> None:
        port = free_port()
        own = {
            "COMPOSE_PROJECT_NAME": f"vssm-test-{port}",
            "VSSM_PORT": str(port),
            "VSSM_CHECKPOINTS": str(checkpoints),
            "VSSM_REDIS_PASSWORD": secrets.token_hex(16),
        }
        others = {name: value for name, value in os.environ.items() if not name.startswith(("VSSM_", "COMPOSE_"))}
        self._environment = others | own
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS)

    def set(self, **settings: str) -> None:
        """Variables for the next `up` or `compose`; an empty one is as none."""
        self._environment |= settings

    def docker(self, *arguments: str) -> str:
        """Standard output of a docker command."""
        done = self._run(arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def compose(self, *arguments: str) -> str:
        """Standard output of a docker compose command, without the .env file of the folder."""
        return self.docker(*COMPOSE, *arguments)

    def refusal(self, *arguments: str) -> str:
        """Standard error of a docker compose command that must fail."""
        done = self._run((*COMPOSE, *arguments))
        assert done.returncode != 0, done.stdout
        return done.stderr

    def _run(self, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["docker", *arguments], cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=240
        )

    def up(self, *arguments: str) -> None:
        """Starts what does not run, or runs with other settings; returns when all are healthy."""
        self.compose("up", "--detach", "--wait", "--no-build", *arguments)

    def remove(self) -> None:
        """Containers, networks and volumes."""
        self.compose("--profile", "monitoring", "down", "--volumes", "--timeout", "5")
        self.client.close()

    def containers(self, service: str) -> list[str]:
        """Ids."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker knows of it."""
        described: dict[str, Any] = json.loads(self.docker("inspect", container))[0]
        return described

    def crash(self, container: str) -> None:
        """SIGKILL to its first process as the host would send it, so that the restart policy acts.

        After `docker kill` it does not: that counts as the wish of the operator.
        """
        before = self.inspect(container)
        image, process = before["Image"], before["State"]["Pid"]
        self.docker("run", "--rm", "--pid=host", "--user=0", "--entrypoint=sh", image, "-c", f"kill -9 {process}")
        until(lambda: self._restarted(container, before["RestartCount"]))

    def _restarted(self, container: str, count: int) -> bool:
        now = self.inspect(container)
        return bool(now["RestartCount"] > count and now["State"]["Running"])

    def workers(self) -> int:
        """How many live, according to the API."""
        answer = self.client.get("/readyz")
        return int(answer.json()["workers"]) if answer.status_code == 200 else 0

    def generate(self, **body: object) -> dict[str, Any]:
        """POST /generate as a careful client does it: what cannot be served now is sent again with the same key."""
        key = secrets.token_hex(16)
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._try(key, body)
            if isinstance(answer, dict):
                return answer
            assert time.monotonic() < end, answer
            time.sleep(0.2)

    def _try(self, key: str, body: dict[str, object]) -> dict[str, Any] | str:
        try:
            response = self.client.post("/generate", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as error:
            return repr(error)
        if response.status_code in (502, 503, 504):
            return response.text
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()
        return result

    def stream(self, **body: object) -> list[tuple[str, dict[str, Any]]]:
        """The events of a stream, and their data."""
        with self.client.stream("POST", "/generate", json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            return list(parse(response.read().decode()))
