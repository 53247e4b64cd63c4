"""`python -m tests.soak.vanish`: streams whose clients vanish at any moment; nothing may be left of them.

A cycle opens a request (streams above all, also resumes of sessions), reads none, some or most of it, and closes the
connection without a word: before the head is sent whole, while the request waits, between chunks, in the middle of one.
"""

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import machine
from tests.soak.link import LEAVINGS, Link
from tests.soak.rest import rest, settle
from tests.soak.service import ROOT, Target, running

RESULTS = ROOT / "benchmarks" / "results" / "vanish.json"
LONGEST_SECONDS = 1.0
NEVER_SENT = 0.05  # of the cycles; the head is not whole
ALL = 2**40


@dataclass(frozen=True)
class Plan:
    """How many, how many at once, and for how long leftovers may take to go."""

    cycles: int = 10_000
    clients: int = 24
    seed: int = 0
    settle_seconds: float = 60.0


class Vanishing:
    """All cycles, and what became of them."""

    def __init__(self, target: Target, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self.ends: Counter[str] = Counter()
        self._begun = 0

    async def run(self) -> None:
        """Until there were enough."""
        await asyncio.gather(*(self._client() for _ in range(self._plan.clients)))

    async def _client(self) -> None:
        sessions: list[str] = []
        while self._begun < self._plan.cycles:
            self._begun += 1
            if self._begun % 50 == 0:
                sessions = [*sessions, await self._session()][-1:]
            self.ends[await self.cycle(sessions)] += 1

    async def cycle(self, sessions: list[str]) -> str:
        """One request that is left: when."""
        rng = self._rng
        link = Link(self._target.port, rng.choice(self._target.keys) if self._target.keys else None)
        try:
            if rng.random() < NEVER_SENT:
                await link.write(b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n")
                return "before the request was whole"
            await link.send("POST", "/generate", self._body(sessions))
            return await self._read(link, rng.choice([0, 1, 2_000, 50_000, 200_000, ALL]))
        except LEAVINGS:
            return "the server was first"
        finally:
            link.close()

    async def _read(self, link: Link, enough: int) -> str:
        seconds, come = self._rng.uniform(0, LONGEST_SECONDS), 0
        try:
            async with asyncio.timeout(seconds):
                while come < enough and (data := await link.read(65_536)):
                    come += len(data)
                    if data.endswith(b"0\r\n\r\n") or (b"content-length" in data and come > 1000):
                        return "after all of it"
        except TimeoutError:
            pass
        return "before the answer" if come == 0 else "within the answer"

    def _body(self, sessions: list[str]) -> dict[str, Any]:
        rng = self._rng
        body: dict[str, Any] = {"stream": rng.random() < 0.85, "length": rng.choice([5, 500, 2_000, 8_000])}
        if sessions and rng.random() < 0.2:
            return {**body, "session_id": sessions[0]}
        return {**body, "model": "pixels", "num_samples": rng.choice([1, 4]), "save": rng.random() < 0.2}

    async def _session(self) -> str:
        link = Link(self._target.port, self._target.keys[0] if self._target.keys else None)
        answer = await link.ask("POST", "/generate", {"model": "pixels", "length": 1, "save": True, "ttl_seconds": 2})
        link.close()
        session: str = json.loads(answer.body).get("session_id", "sess_" + "0" * 32)
        return session


async def vanish(target: Target, plan: Plan) -> dict[str, Any]:
    """The report; `passed` when nothing is left."""
    before = await asyncio.to_thread(rest, target)
    cancelled = target.metric("vssm_requests_cancelled_total")
    cycles, began = Vanishing(target, plan), time.monotonic()
    await cycles.run()
    seconds = time.monotonic() - began
    found, after, settled = await asyncio.to_thread(settle, target, before, plan.settle_seconds)
    return {
        "passed": not found,
        "left": found,
        "plan": asdict(plan),
        "seconds": round(seconds, 1),
        "cycles": sum(cycles.ends.values()),
        "left_when": dict(sorted(cycles.ends.items())),
        "cancelled": int(target.metric("vssm_requests_cancelled_total") - cancelled),
        "settled_seconds": settled,
        "before": {"keys": len(before.keys), "files": before.files, "redis_links": before.links},
        "after": {"keys": len(after.keys), "files": after.files, "redis_links": after.links},
    }


def main(
    cycles: Annotated[int, typer.Option(help="Requests that are left.")] = 10_000,
    clients: Annotated[int, typer.Option(help="At the same time.")] = 24,
    seed: Annotated[int, typer.Option(help="Of what they do.")] = 0,
    out: Annotated[Path, typer.Option(help="Of the report.")] = RESULTS,
) -> None:
    """Then no running work, open file, pending entry or key may remain."""
    with tempfile.TemporaryDirectory(prefix="vssm-soak-") as folder, running(Path(folder)) as target:
        report = {"machine": machine(), **asyncio.run(vanish(target, Plan(cycles, clients, seed)))}
    typer.echo(json.dumps(report, indent=2))
    out.write_text(json.dumps(report, indent=2) + "\n")
    raise typer.Exit(0 if report["passed"] else 1)


if __name__ == "__main__":
    typer.run(main)
