"""Files of the command line: a prefix that is read, a result that is written in the form that its name says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vssm_client.arrays import of_npy

if TYPE_CHECKING:
    from vssm_client.models import Generation
    from vssm_client.options import Prefix

FORMATS = (".png", ".npy", ".json", ".txt")


def read_prefix(name: str) -> Prefix:
    """Observed steps from a file: .npy, .json, or text otherwise; "-" is text from standard input.

    Raises OSError, ValueError for what is no such file, ImportError for .npy without numpy.
    """
    if name == "-":
        return sys.stdin.read()
    path = Path(name)
    if path.suffix == ".npy":
        return of_npy(path.read_bytes())
    try:
        text = path.read_text(encoding="utf-8")
        return _of_json(text) if path.suffix == ".json" else text
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "UTF-8 text"
        raise ValueError(f"--prefix: {path} is no {kind} ({error}); .npy, .json and text files can be read") from None


def _of_json(text: str) -> Prefix:
    prefix: Prefix = json.loads(text)
    if not isinstance(prefix, str | list):
        raise ValueError(f"a list of steps is needed, not a {type(prefix).__name__}")
    return prefix


def checked_out(path: Path, streamed: bool) -> Path:
    """A file that can be written. Raises ValueError, before any work is done."""
    if path.suffix not in FORMATS:
        raise ValueError(f"--out: the name must end in {', '.join(FORMATS)}, which says the form; not {path.name!r}")
    if path.suffix == ".png" and streamed:
        raise ValueError("--out: a picture cannot be streamed; leave --stream out, or write .npy or .json")
    if not path.parent.is_dir():
        raise ValueError(f"--out: there is no folder {path.parent}; make it first")
    return path


def as_json(generation: Generation) -> str:
    """A result as one line of JSON, without fields that are None."""
    return generation.model_dump_json(exclude_none=True)


def as_text(generation: Generation) -> str | None:
    """The texts with an empty line between samples; None for models that make none."""
    texts = [output.text for output in generation.outputs if output.text is not None]
    return "\n\n".join(texts) if texts else None
