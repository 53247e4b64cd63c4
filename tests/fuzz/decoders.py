"""Runs a decoder on input after input. It may say no in its own words only, at once, and keep nothing.

A failure is written to a file with the bytes and what to do to see it again.
"""

import ctypes
import gc
import hashlib
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from tests.fuzz.mutate import mutate

MOST_SECONDS = 1.0  # of the processor, for one input
GROWTH = 0.10  # of resident memory, from after the first inputs to the end
PEAK_BYTES = 256 << 20  # that one input may make the process grow by
WARM_UP = 0.05  # of the inputs
KEPT_FAILURES = 20


class TooSlow(BaseException):
    """An input takes too long; no decoder may catch this."""


@dataclass(frozen=True)
class Target:
    """A decoder, what the code itself makes for it, how it may refuse, and its share of all inputs."""

    name: str
    corpus: Sequence[bytes]
    decode: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    share: float


@dataclass
class Outcome:
    """Of one target."""

    name: str
    inputs: int = 0
    accepted: int = 0
    failed: int = 0
    seconds: float = 0.0
    slowest_ms: float = 0.0
    memory_before: int = 0
    memory_after: int = 0
    failures: list[str] = field(default_factory=list)  # one of each kind


def fuzz(
    target: Target, inputs: int, seed: int, folder: Path, tell: Callable[[int], object] = lambda number: None
) -> Outcome:
    """So many inputs; `tell` is told the number of each before it is tried. Failures are written into the folder."""
    outcome = Outcome(target.name)
    own = _seed_of(target, seed)
    kinds: dict[str, int] = {}
    for data in target.corpus:  # what is imported or made for the first ones is no input's fault
        with suppress(Exception):
            target.decode(data)
    warm, began, peak = max(1, int(WARM_UP * inputs)), time.monotonic(), 0
    with _watched() as watch:
        for number in range(inputs):
            if number == warm:
                outcome.memory_before, peak = memory(), _peak()
            tell(number)
            data = mutate(target.corpus, own, number)
            outcome.inputs += 1
            problem = _try(target, data, watch, outcome)
            outcome.failed += problem is not None
            if problem is not None and len(kinds) < KEPT_FAILURES and problem[0] not in kinds:
                kinds[problem[0]] = number
                outcome.failures.append(report(target, seed, number, data, problem[1], folder))
    outcome.seconds = time.monotonic() - began
    outcome.memory_after = memory()
    if inputs > warm:
        _judge_memory(outcome, _peak() - peak)
    return outcome


def _try(target: Target, data: bytes, watch: "Watch", outcome: Outcome) -> tuple[str, str] | None:
    """None, or where it failed and how."""
    began = time.perf_counter()
    try:
        with watch:
            target.decode(data)
        outcome.accepted += 1
    except target.refusals:
        pass
    except (Exception, TooSlow) as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(frames) if frame.filename != __file__), frames[-1])
        return f"{type(error).__name__} {place.filename}:{place.lineno}", traceback.format_exc()
    finally:
        outcome.slowest_ms = max(outcome.slowest_ms, 1e3 * (time.perf_counter() - began))
    return None


def _judge_memory(outcome: Outcome, rise: int) -> None:
    if outcome.memory_after > outcome.memory_before * (1 + GROWTH):
        was, now = outcome.memory_before >> 20, outcome.memory_after >> 20
        outcome.failures.append(f"{outcome.name}: resident memory was {was} MiB and is {now} MiB")
    if rise > PEAK_BYTES:
        outcome.failures.append(f"{outcome.name}: an input took {rise >> 20} MiB")


def report(target: Target, seed: int, number: int, data: bytes, error: str, folder: Path) -> str:
    """Writes the input and what it did; says so."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}-{number}.bin"
    path.write_bytes(data)
    again = f"python -m tests.fuzz --again {path}"
    text = f"target {target.name}, seed {seed}, input {number}, {len(data)} bytes; see it again: {again}\n\n{error}"
    path.with_suffix(".txt").write_text(text)
    return f"{target.name}: {error.strip().splitlines()[-1][:200]} ({path})"


def input_of(target: Target, seed: int, number: int) -> bytes:
    """The input of that number, as `fuzz` makes it."""
    return mutate(target.corpus, _seed_of(target, seed), number)


def memory() -> int:
    """Resident bytes, after giving back what is free."""
    gc.collect()
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _seed_of(target: Target, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {target.name}".encode()).digest()[:6], "big")


class Watch:
    """Interrupts what takes too long, by the processor's time: a busy machine is no failure."""

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextmanager
def _watched() -> Iterator[Watch]:
    def interrupt(_: int, __: FrameType | None) -> None:
        raise TooSlow(f"more than {MOST_SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, interrupt)
    try:
        yield Watch()
    finally:
        signal.signal(signal.SIGPROF, before)
