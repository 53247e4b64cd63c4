"""A stream of completions: `data:` lines with parts of choices, then the usage if asked for, then `[DONE]`."""

from collections.abc import AsyncIterator, Sequence

from vssm_server.api.openai import errors
from vssm_server.api.openai.choices import Choices, Json
from vssm_server.api.render import dumps, passes_of
from vssm_server.api.run import Run
from vssm_server.errors import Problem
from vssm_server.hub import Part
from vssm_server.messages import Done


class Parts:
    """The parts of all runs, one run after another; the later ones are made meanwhile."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._at = 0

    @property
    def over(self) -> bool:
        """Whether there is none any more."""
        return self._at == len(self._runs)

    async def get(self) -> tuple[int, Part | Done]:
        """The next part and its run. Raises Problem."""
        run = self._at
        part = await self._runs[run].waiter.get()
        if isinstance(part, Done):
            self._at += 1
        return run, part

    def failed(self, problem: Problem) -> None:
        """What ended the stream is an error answered."""
        self._runs[0].failed(problem)

    def skip(self) -> None:
        """Nothing more is wanted of the present run."""
        self._at += 1


async def events(
    parts: Parts, choices: Choices, first: tuple[int, Part | Done] | None, usage: bool
) -> AsyncIterator[bytes]:
    """The events; `first` is the first part if that is here already. Each part of a choice is one by itself."""
    dones: list[Done] = []
    try:
        while first or not parts.over:
            run, part = first or await parts.get()
            first = None
            if isinstance(part, Done):
                dones.append(part)
            made = choices.end(run) if isinstance(part, Done) else choices.add(run, part[1])
            if made:
                yield b"".join(_data(choices.around([choice], None)) for choice in made)
            if not isinstance(part, Done) and choices.stopped(run):
                parts.skip()
    except Problem as problem:
        parts.failed(problem)
        yield _data(dict(errors.body(problem, errors.COMPLETIONS)))
        return
    if usage:
        yield _data({**choices.around([], choices.usage), **passes_of(dones)})
    yield b"data: [DONE]\n\n"


def _data(content: Json) -> bytes:
    return b"data: " + dumps(content) + b"\n\n"
