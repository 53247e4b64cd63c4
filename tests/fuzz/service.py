"""The server that is fuzzed: real, with an API key, with models so small that a request costs next to nothing."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
import psutil
from vssm_server.keyring import Document, make

from tests.e2e.serving import Serve
from tests.server.models import save_all

MODELS = ("image", "colour", "text", "series", "scaled", "exact", "blind", "whole", "truncated")
DEADLINE_SECONDS = 10
GRACE_SECONDS = 3  # beyond the deadline: the API gives up 2 s after it
LIVE_SECONDS = 2.0  # for an answer of /livez
SETTLE_SECONDS = 20
GROWTH = 0.10  # of memory, that is allowed
LIMITS = {
    "default_model": "image",
    "deadline_seconds": DEADLINE_SECONDS,
    "max_length": 64,
    "max_num_samples": 8,
    "max_request_steps": 256,
    "max_prefix_steps": 64,
    "max_observed_steps": 1024,
    "default_ttl_seconds": 120,
    "idempotency_seconds": 60,
    "log_level": "warning",
}


class Service:
    """Runs while this is open."""

    def __init__(
        self, folder: Path, settings: Mapping[str, object] | None = None, models: Collection[str] = MODELS
    ) -> None:
        self.models = [name for name in models if name != "truncated"]
        paths = [path for path in save_all(folder) if path.name in models]
        entry, self.key = make("fuzz", ("admin",), None)
        document = msgspec.json.encode(Document((entry,))).decode()
        self.serve = Serve(
            folder, models=",".join(map(str, paths)), api_keys=document, **{**LIMITS, **(settings or {})}
        )
        self.serve.client.headers.update(self.headers)

    def __enter__(self) -> "Service":
        self.serve.start()
        self.pids = self.pids_now()
        return self

    def __exit__(self, *_: object) -> None:
        self.serve.kill()
        self.serve.client.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.serve.client.base_url).rstrip("/")

    @property
    def port(self) -> int:
        """The same, for sockets."""
        port = self.serve.client.base_url.port
        assert port is not None
        return port

    @property
    def headers(self) -> dict[str, str]:
        """Of somebody with the key."""
        return {"Authorization": f"Bearer {self.key}"}

    def warm_up(self, rounds: int = 20) -> None:
        """Every model and kind of answer: what is made once and kept is there then."""
        for _ in range(rounds):
            for name in self.models:
                self.serve.generate(model=name, length=16 if name == "whole" else 4, num_samples=8, save=True)
                self.serve.stream(model=name, length=4, num_samples=2)

    def memory(self) -> int:
        """Resident bytes of API and worker."""
        return sum(int(self.serve.child(part).memory_info().rss) for part in ("api", "worker"))

    def settled_memory(self, before: int) -> int:
        """The same once it is back within what is allowed, or after a while."""
        end = time.monotonic() + SETTLE_SECONDS
        while (now := self.memory()) > before * (1 + GROWTH) and time.monotonic() < end:
            time.sleep(0.5)
        return now

    def complaints(self) -> list[str]:
        """What is wrong with it: processes that died, no health, no generation, tracebacks in its log."""
        now = self.pids_now()
        found = [
            f"{part} is process {now.get(part)}, it was {pid}"
            for part, pid in self.pids.items()
            if now.get(part) != pid
        ]
        began = time.monotonic()
        if not self.serve.alive() or time.monotonic() - began > LIVE_SECONDS:
            found.append(f"/livez took {time.monotonic() - began:.1f} s, or failed")
        answer = self.serve.client.post("/generate", json={"model": "image", "seed": 7})
        if answer.status_code != 200 or len(answer.json()["outputs"][0]["values"]) != 8:
            found.append(f"a generation was answered with {answer.status_code}: {answer.text[:200]}")
        lines = (self.serve.folder / "log").read_text(errors="replace").splitlines()
        return found + [f"the log has: {line}" for line in lines if "Traceback" in line or "internal error" in line][:5]

    def pids_now(self) -> dict[str, int]:
        """Of the parts that run."""
        try:
            return {part: self.serve.child(part).pid for part in ("api", "worker", "valkey-server")}
        except (StopIteration, psutil.Error):
            return {}
