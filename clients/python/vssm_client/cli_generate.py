"""`vssm-client generate` behind its flags: asks, shows progress, and writes or prints the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vssm_client.arrays import to_npy
from vssm_client.cli_files import as_json, as_text, checked_out
from vssm_client.cli_progress import waiting, watched
from vssm_client.cli_shared import err
from vssm_client.client import Client
from vssm_client.events import join
from vssm_client.models import Chunk, Event, Generation
from vssm_client.options import Options


@dataclass(frozen=True)
class Wanted:
    """What is to be done with the result; without `out` it is printed."""

    out: Path | None
    stream: bool
    json: bool


def run(client: Client, options: Options, wanted: Wanted) -> None:
    """The whole command. Raises ClientError, and ValueError or OSError for files."""
    what = options.get("model") or options.get("session_id") or "generating"
    if wanted.out is not None:
        _write(client, options, checked_out(wanted.out, wanted.stream), wanted.stream, what)
    elif wanted.stream:
        events = watched(client, options, what)
        _tell(_print_events(events, wanted.json or (options.get("num_samples") or 1) > 1))
    else:
        generation = _whole(client, options, what)
        text = None if wanted.json else as_text(generation)
        print(as_json(generation) if text is None else text)
        _tell(generation)


def _whole(client: Client, options: Options, what: str) -> Generation:
    with waiting(what):
        return client.generate(**options)


def _write(client: Client, options: Options, path: Path, stream: bool, what: str) -> None:
    if path.suffix == ".png":
        with waiting(what):
            png = client.png(**options)
        path.write_bytes(png)
        _note(f"{path}: seed {png.seed}", png.session_id)
    elif path.suffix == ".npy" and not stream:
        with waiting(what):
            result = client.array(**options)
        path.write_bytes(to_npy(result.values))
        _note(f"{path}: {_shape(result.values.shape)}, seed {result.seed}", result.session_id)
    else:
        generation = join(watched(client, options, what)) if stream else _whole(client, options, what)
        path.write_bytes(_content(client, generation, path))
        _tell(generation, f"{path}: ")


def _content(client: Client, generation: Generation, path: Path) -> bytes:
    if path.suffix == ".npy":
        array = generation.array()
        observation = client.model(generation.model).observation
        whole = array.dtype.kind == "i" and observation is not None
        return to_npy(array.astype(observation.dtype) if whole and observation else array)
    if path.suffix == ".json":
        return as_json(generation).encode() + b"\n"
    if (text := as_text(generation)) is None:
        raise ValueError(f"--out: the model {generation.model!r} makes no text; write .json or .npy")
    return text.encode()


def _print_events(events: Iterable[Event], lines: bool) -> Generation:
    """Text as it comes, or each event as a line of JSON. Returns the last one."""
    last: Event | None = None
    for last in events:
        texts = [output.text for output in last.outputs if output.text is not None]
        if lines or (isinstance(last, Chunk) and not texts):
            lines = True
            print(last.model_dump_json(exclude_none=True), flush=True)
        else:
            print("".join(texts), end="" if isinstance(last, Chunk) else "\n", flush=True)
    assert isinstance(last, Generation)  # a stream without its end raises
    return last


def _tell(generation: Generation, before: str = "") -> None:
    usage, count = generation.usage, len(generation.outputs)
    steps = usage.generated_steps // max(1, count)
    text = f"{before}{generation.model}, {count} x {steps} steps to position {generation.position}, seed "
    _note(f"{text}{generation.seed}, {generation.timings.total_ms:.1f} ms", generation.session_id)


def _note(text: str, session_id: str | None) -> None:
    err.print(text, markup=False)
    if session_id is not None:
        err.print(f"to go on: vssm-client generate --session {session_id}", markup=False)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
