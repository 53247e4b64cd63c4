"""A client that asks at random, tries again under the same Idempotency-Key, and keeps all it was told."""

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from tests.e2e.serving import joined, parse

MODELS = {"pixels": 1, "image": 8, "series": 2}  # name -> size of a step
PATIENCE_SECONDS = 45.0  # for one attempt; the deadline is 30
ATTEMPTS = 60
MAX_SESSIONS = 3


@dataclass
class Part:
    """A prefix that was observed and the values (samples, steps, size) that were generated after it."""

    prefix: list[Any] | None
    length: int
    values: list[Any]


@dataclass
class Story:
    """What one sequence has been through, as its client was told."""

    model: str
    seed: int
    num_samples: int
    parts: list[Part] = field(default_factory=list)
    session: str | None = None

    @property
    def position(self) -> int:
        """Steps so far."""
        return sum(part.length + len(part.prefix or []) for part in self.parts)


@dataclass
class Ledger:
    """What all clients together have seen."""

    stories: list[Story] = field(default_factory=list)
    requests: int = 0
    cancelled: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Client:
    """One of many; knows all APIs, and its own sessions only."""

    def __init__(self, urls: list[str], ledger: Ledger, seed: int, keyed: bool = True) -> None:
        self._http = httpx.AsyncClient(timeout=PATIENCE_SECONDS)
        self._urls = urls
        self._ledger = ledger
        self._rng = random.Random(seed)
        self._keyed = keyed
        self._sessions: list[Story] = []

    async def run(self, requests: int, enough: asyncio.Event) -> None:
        """Asks until all clients together have asked `requests` times, and until it was `enough`."""
        while self._ledger.requests < requests or not enough.is_set():
            await self._once()
        await self.close()

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def _once(self) -> None:
        kinds = {"new": 25, "save": 15, "resume": 30, "fork": 6, "delete": 5, "look": 4, "cancel": 8, "interrupt": 7}
        kind = self._rng.choices(list(kinds), list(kinds.values()))[0]
        if kind in ("resume", "fork", "delete", "look", "interrupt") and not self._sessions:
            kind = "save"
        if kind == "save" and len(self._sessions) >= MAX_SESSIONS:
            kind = "resume"
        began = time.monotonic()
        await getattr(self, f"_{kind}")()
        self._ledger.seconds.append(time.monotonic() - began)
        self._ledger.requests += 1

    async def _new(self) -> None:
        await self._begin(save=False)

    async def _save(self) -> None:
        story = await self._begin(save=True)
        if story is not None:
            self._sessions.append(story)

    async def _begin(self, save: bool) -> Story | None:
        model = self._rng.choice(list(MODELS))
        story = Story(model, self._rng.randrange(2**40), self._rng.randint(1, 3))
        fields = {"model": model, "seed": story.seed, "num_samples": story.num_samples, "save": save}
        if not await self.advance(story, fields, self._prefix(model) if self._rng.random() < 0.3 else None):
            return None
        self._ledger.stories.append(story)
        return story

    def _prefix(self, model: str) -> list[Any]:
        steps, size = self._rng.randint(1, 12), MODELS[model]
        draw = (lambda: self._rng.gauss(0, 1)) if model == "series" else (lambda: self._rng.randint(0, 1))
        rows = [[draw() for _ in range(size)] for _ in range(steps)]
        return [row[0] for row in rows] if size == 1 else rows

    async def _resume(self) -> None:
        story = self._rng.choice(self._sessions)
        prefix = self._prefix(story.model) if self._rng.random() < 0.15 else None
        await self.advance(story, {"session_id": story.session}, prefix)

    async def _interrupt(self) -> None:
        """Leaves in the middle of a resume and comes back with the same key."""
        story = self._rng.choice(self._sessions)
        await self.advance(story, {"session_id": story.session}, None, leave=True)

    async def advance(
        self,
        story: Story,
        fields: dict[str, Any],
        prefix: list[Any] | None,
        leave: bool = False,
        length: int | None = None,
    ) -> bool:
        """One request more for a sequence: what it was told goes into the story. Whether it was told anything."""
        length = length or self._rng.choice([1, 7, 30, 100, 400, 3000 if story.model == "pixels" else 300])
        stream = self._rng.random() < 0.4
        body = {**fields, "length": length, "stream": stream} | ({} if prefix is None else {"prefix": prefix})
        key = self._key()
        if leave:
            await self._leave(body, key)
        answer = await self._ask("POST", "/generate", body, key)
        if answer is None:
            return False
        result, values = _read(answer)
        story.parts.append(Part(prefix, length, values))
        story.session = story.session or result["session_id"]
        if result["position"] != story.position:
            self._violate(f"position {result['position']} where {story.position} was right: {body}")
        return True

    async def _cancel(self) -> None:
        """Leaves a long request for good."""
        body = {"model": "pixels", "length": 20_000, "stream": self._rng.random() < 0.5}
        await self._leave(body, self._key() if self._rng.random() < 0.5 else {})
        self._ledger.cancelled += 1

    async def _leave(self, body: dict[str, Any], key: dict[str, str]) -> None:
        async def ask() -> None:
            url = self._rng.choice(self._urls) + "/generate"
            async with self._http.stream("POST", url, json=body, headers=key) as response:
                async for _ in response.aiter_raw():
                    pass

        with contextlib.suppress(TimeoutError, httpx.HTTPError):
            await asyncio.wait_for(ask(), self._rng.uniform(0.0, 0.3))

    async def _fork(self) -> None:
        story = self._rng.choice(self._sessions)
        answer = await self._ask("POST", f"/sessions/{story.session}/fork", {}, self._key())
        if answer is None:
            return
        copy = Story(story.model, story.seed, story.num_samples, list(story.parts), answer.json()["id"])
        self._ledger.stories.append(copy)
        if len(self._sessions) < MAX_SESSIONS:
            self._sessions.append(copy)
        if answer.json()["position"] != story.position:
            self._violate(f"a fork at position {answer.json()['position']}, not {story.position}")

    async def _delete(self) -> None:
        story = self._sessions.pop(self._rng.randrange(len(self._sessions)))
        await self._ask("DELETE", f"/sessions/{story.session}", None, {}, fine=(204, 404))
        story.session = None

    async def _look(self) -> None:
        await self.look(self._rng.choice(self._sessions))

    async def look(self, story: Story) -> None:
        """Whether the session is where its client thinks it is."""
        answer = await self._ask("GET", f"/sessions/{story.session}", None, {})
        if answer is not None and answer.json()["position"] != story.position:
            self._violate(f"session {story.session} is at {answer.json()['position']}, not {story.position}")

    def _key(self) -> dict[str, str]:
        return {"Idempotency-Key": str(uuid.UUID(int=self._rng.getrandbits(128)))} if self._keyed else {}

    async def _ask(
        self, method: str, path: str, body: object, headers: dict[str, str], fine: tuple[int, ...] = (200, 201)
    ) -> httpx.Response | None:
        """The good answer, after as many tries as it takes; None, and a violation, if it does not come."""
        for _ in range(ATTEMPTS):
            url = self._rng.choice(self._urls) + path
            try:
                answer = await self._http.request(method, url, json=body, headers=headers)
            except httpx.TimeoutException:
                self._violate(f"no answer within {PATIENCE_SECONDS} seconds: {method} {path} {body}")
                return None
            except httpx.TransportError as error:
                await self._pause(type(error).__name__, 0.3)
                continue
            trouble = _trouble(answer, fine)
            if trouble is None:
                return answer
            if trouble[0] >= 500 or trouble[0] in (409, 429):
                await self._pause(f"{trouble[0]} {trouble[1]}", float(answer.headers.get("Retry-After", 0.3)))
                continue
            self._violate(f"{trouble}: {method} {path} {body}")
            return None
        self._violate(f"{ATTEMPTS} tries did not help: {method} {path} {body}")
        return None

    async def _pause(self, why: str, seconds: float) -> None:
        self._ledger.retries[why] += 1
        await asyncio.sleep(min(seconds, 1.0) * self._rng.uniform(0.5, 1.0))

    def _violate(self, text: str) -> None:
        self._ledger.violations.append(text[:300])


def _trouble(answer: httpx.Response, fine: tuple[int, ...]) -> tuple[int, str] | None:
    """Status and type of an error, a stream's last event included."""
    if answer.status_code not in fine:
        return answer.status_code, answer.json()["error"]["type"]
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        name, data = parse(answer.text)[-1]
        return None if name == "done" else (data["error"]["code"], data["error"]["type"])
    return None


def _read(answer: httpx.Response) -> tuple[dict[str, Any], list[Any]]:
    """The result, and its values (samples, steps, ...)."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        result: dict[str, Any] = json.loads(answer.content)
        return result, [output["values"] for output in result["outputs"]]
    events = parse(answer.text)
    chunks = [data for name, data in events if name == "chunk"]
    return events[-1][1], joined([[output["values"] for output in chunk["outputs"]] for chunk in chunks])


def as_array(values: list[Any]) -> np.ndarray[Any, Any]:
    """(samples, steps, size) of what JSON had."""
    array = np.asarray(values)
    return array[:, :, None] if array.ndim == 2 else array
