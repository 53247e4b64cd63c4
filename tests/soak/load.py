"""Clients that ask for everything there is, at random, without a pause; some ask for nonsense, some vanish."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.soak.link import LEAVINGS, Answer, Link
from tests.soak.service import DEADLINE_SECONDS, Target

PATIENCE_SECONDS = DEADLINE_SECONDS + 20.0
MAX_SESSIONS = 3
BUSY = frozenset({429, 503, 504})  # documented answers of a service that has too much to do
NPY, PNG = {"Accept": "application/x-npy"}, {"Accept": "image/png"}
KINDS = {
    "json": 14, "npy": 12, "png": 6, "stream": 14, "prefix": 8, "save": 10, "resume": 12, "fork": 5, "delete": 5,
    "look": 4, "once": 4, "openai": 4, "models": 3, "scrape": 1, "nonsense": 8, "stranger": 3, "garbage": 2,
    "vanish": 8,
}  # fmt: skip
NONSENSE: list[tuple[bytes, set[int]]] = [
    (b"{", {400}),
    (b'{"model": "pixels", "length": -1}', {422}),
    (b'{"model": "pixels", "length": 1000000000}', {422}),
    (b'{"model": "nothing"}', {404}),
    (b'{"model": "pixels", "prefix": [7], "length": 1}', {422}),
    (b'{"model": "pixels", "prefix": ' + b"[" * 500 + b"]" * 500 + b"}", {400}),
    (b'{"session_id": "sess_00000000000000000000000000000000"}', {404}),
    (b'{"model": "pixels", "seed": "\\u0000", "length": 3}', {422}),
]


@dataclass
class Ledger:
    """What all clients together have seen."""

    asked: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.asked.values())


class Guest:
    """One of many clients; knows its own sessions only."""

    def __init__(self, target: Target, ledger: Ledger, seed: int) -> None:
        self._rng = random.Random(seed)
        self._target = target
        self._ledger = ledger
        self._link = Link(target.port, self._rng.choice(target.keys) if target.keys else None)
        self._sessions: list[str] = []

    async def run(self, over: Callable[[], bool]) -> None:
        """Until it is over."""
        while not over():
            await self.once()
        self._link.close()

    async def once(self) -> None:
        """One request, or a few that belong together."""
        kind = self._rng.choices(list(KINDS), list(KINDS.values()))[0]
        if kind in ("resume", "fork", "delete", "look") and not self._sessions:
            kind = "save"
        self._ledger.asked[kind] += 1
        act: Callable[[], Awaitable[None]] = getattr(self, f"_{kind}")
        try:
            await asyncio.wait_for(act(), PATIENCE_SECONDS)
        except TimeoutError:
            self._violate(f"{kind}: no answer within {PATIENCE_SECONDS} seconds")
        except LEAVINGS as error:
            self._violate(f"{kind}: the server closed the connection: {error!r}")

    async def _json(self) -> None:
        await self._generate(self._body(), {200})

    async def _npy(self) -> None:
        await self._generate(self._body(), {200}, NPY)

    async def _png(self) -> None:
        body = {"model": self._model("image", "mnist"), "num_samples": self._rng.randint(1, 9)}
        await self._generate(body, {200}, PNG)

    async def _stream(self) -> None:
        answer = await self._generate({**self._body(), "stream": True}, {200})
        if answer.status == 200 and b"event: done" not in answer.body and b"deadline_exceeded" not in answer.body:
            self._violate(f"a stream ended with {answer.body[-200:]!r}")

    async def _prefix(self) -> None:
        body = {"model": "pixels", "prefix": [self._rng.randint(0, 1) for _ in range(self._rng.randint(1, 300))]}
        await self._generate({**body, "length": 50, "num_particles": self._rng.choice([1, 1, 3])}, {200})

    async def _save(self) -> None:
        if len(self._sessions) >= MAX_SESSIONS:
            await self._delete()
            return
        answer = await self._generate({**self._body(), "save": True}, {200})
        if answer.status == 200:
            self._sessions.append(json.loads(answer.body)["session_id"])

    async def _resume(self) -> None:
        body = {"session_id": self._session(), "length": self._rng.choice([1, 20, 200])}
        await self._gone(await self._generate({**body, "stream": self._rng.random() < 0.3}, {200, 404}), body)

    async def _gone(self, answer: Answer, body: dict[str, Any]) -> None:
        """A session may have expired while its client was busy with other things."""
        if answer.status == 404:
            self._sessions.remove(body["session_id"])

    async def _fork(self) -> None:
        answer = await self._ask("POST", f"/sessions/{self._session()}/fork", None, {201, 404})
        if answer.status == 201:
            copy = json.loads(answer.body)["id"]
            self._sessions = [*self._sessions, copy][-MAX_SESSIONS:]  # those that are forgotten expire

    async def _delete(self) -> None:
        session = self._sessions.pop(self._rng.randrange(len(self._sessions)))
        await self._ask("DELETE", f"/sessions/{session}", None, {204, 404})

    async def _look(self) -> None:
        await self._ask("GET", f"/sessions/{self._session()}", None, {200, 404})

    async def _once(self) -> None:
        """The same request twice, with one Idempotency-Key."""
        body, headers = self._body(), {"Idempotency-Key": f"{self._rng.getrandbits(128):x}"}
        for _ in range(2):
            await self._generate(body, {200}, headers)

    async def _openai(self) -> None:
        body = {"model": "text", "prompt": "To be", "max_tokens": self._rng.randint(1, 50)}
        await self._ask("POST", "/v1/completions", {**body, "stream": self._rng.random() < 0.3}, {200})

    async def _models(self) -> None:
        await self._ask("GET", self._rng.choice(["/models", "/models/text", "/v1/models", "/livez", "/"]), None, {200})

    async def _scrape(self) -> None:
        watcher = Link(self._target.port, self._target.watcher)
        self._count("scrape", await watcher.ask("GET", "/metrics"), {200})
        watcher.close()

    async def _nonsense(self) -> None:
        body, statuses = self._rng.choice(NONSENSE)
        await self._ask("POST", "/generate", body, statuses)

    async def _stranger(self) -> None:
        """Somebody without a key, or with a wrong one: paths and names that nobody has ever seen."""
        token = f"{self._rng.getrandbits(64):x}"
        stranger = Link(self._target.port, f"vssm_{token[:12]}_{token}" if self._rng.random() < 0.5 else None)
        answer = await stranger.ask("GET", f"/sessions/{token}", None, {"X-Request-ID": token})
        self._count("stranger", answer, {401} if self._target.keys else {404})
        stranger.close()

    async def _garbage(self) -> None:
        """Bytes that are no HTTP, and heads that never end."""
        link = Link(self._target.port)
        await link.write(self._rng.choice([self._rng.randbytes(200), b"GET /livez HTTP/1.1\r\nX: ", b"\r\n" * 50]))
        await asyncio.sleep(self._rng.uniform(0, 0.2))
        link.close()

    async def _vanish(self) -> None:
        """Leaves at any moment of a request."""
        body = {"model": "pixels", "length": 5000, "num_samples": 4, "stream": self._rng.random() < 0.7}
        await _leave(Link(self._target.port, self._link.key), body, self._rng)

    def _body(self) -> dict[str, Any]:
        model = self._model("mnist", "pixels", "image", "series")
        length = self._rng.choice([1, 14, 28, 100, 400, 2000 if model == "pixels" else 200])
        return {"model": model, "length": length, "num_samples": self._rng.choice([1, 2, 4, 16])}

    def _model(self, *names: str) -> str:
        return self._rng.choice([name for name in names if name in self._target.models])

    def _session(self) -> str:
        return self._rng.choice(self._sessions)

    async def _generate(self, body: dict[str, Any], fine: set[int], headers: Mapping[str, str] | None = None) -> Answer:
        return await self._ask("POST", "/generate", body, fine, headers)

    async def _ask(
        self, method: str, path: str, body: object, fine: set[int], headers: Mapping[str, str] | None = None
    ) -> Answer:
        return self._count(
            f"{method} {path} {str(body)[:100]}", await self._link.ask(method, path, body, headers), fine
        )

    def _count(self, what: str, answer: Answer, fine: set[int]) -> Answer:
        self._ledger.statuses[answer.status] += 1
        if answer.status not in fine | BUSY:
            self._violate(f"{what}: {answer.status} {answer.body[:200]!r}")
        return answer

    def _violate(self, text: str) -> None:
        self._link.close()
        self._ledger.violations.append(text[:400])


async def _leave(link: Link, body: dict[str, Any], rng: random.Random) -> None:
    """Asks, reads a little or nothing, and is gone."""
    try:
        await link.send("POST", "/generate", body)
        async with asyncio.timeout(rng.uniform(0.0, 0.5)):
            for _ in range(rng.choice([0, 1, 5])):
                await link.read(65_536)
    except (TimeoutError, *LEAVINGS):
        pass
    finally:
        link.close()


async def crowd(target: Target, ledger: Ledger, clients: int, seed: int, over: Callable[[], bool]) -> None:
    """Many guests at once, until it is over."""
    guests = [Guest(target, ledger, seed * 100_000 + number) for number in range(clients)]
    await asyncio.gather(*(guest.run(over) for guest in guests))
