"""A line on the terminal while the server works: a bar where the end is known, otherwise a sign of life."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from vssm_client.cli_shared import err
from vssm_client.client import Client
from vssm_client.models import Chunk, Event
from vssm_client.options import Options


@contextmanager
def waiting(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Shows that something goes on; what it gives is told how far it is. Nothing is shown without a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def watched(client: Client, options: Options, what: str) -> Generator[Event]:
    """The events of a stream, with a bar."""
    length = options.get("length")
    steps = 0
    with waiting(what, length or _model_length(client, options)) as at:
        for event in client.stream(**options):
            if isinstance(event, Chunk):
                steps += max(len(output.values or ()) for output in event.outputs)
                at(steps if length else event.position)
            yield event


def _model_length(client: Client, options: Options) -> int | None:
    """The position at which a sequence ends by default; asked only if somebody looks."""
    if not err.is_terminal:
        return None
    name, session_id = options.get("model"), options.get("session_id")
    if session_id is not None:
        name = client.session_info(session_id).model
    models = client.models()
    return next((model.length for model in models if model.name == name or len(models) == 1), None)
