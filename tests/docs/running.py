"""Runs the blocks of a page as a reader would: one shell, one Python session, one folder."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.docs.blocks import Block

_END = "end of block"


class Shell:
    """A bash that is given one block after another; whatever fails ends it, and what it started."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        with open(folder / ".stderr", "w") as errors:
            self._process = subprocess.Popen(
                ["bash", "-euo", "pipefail"],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._errors = folder / ".stderr"
        self._seen = 0

    def run(self, code: str) -> tuple[str, str]:
        """What a block prints, and its messages. Raises AssertionError if one of its commands fails."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{code}\necho; echo '{_END}'\n")
            process.stdin.flush()
        lines: list[str] = []
        for line in process.stdout:
            if line == f"{_END}\n":
                return "".join(lines)[:-1], self._messages()
            lines.append(line)
        raise AssertionError(f"the shell ended; it had printed {''.join(lines)!r} and {self._messages()!r}")

    def _messages(self) -> str:
        """What came on standard error since the last time."""
        before, text = self._seen, self._errors.read_text()
        self._seen = len(text)
        return text[before:]

    def close(self) -> None:
        """Ends it, and whatever it left in the background."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(30)
        for file in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                file.close()


class Page:
    """A page that is being read; `replace` puts the addresses of the test in the place of those of the page."""

    def __init__(self, folder: Path, environment: Mapping[str, str], replace: Mapping[str, str]) -> None:
        self._folder, self._replace = folder, replace
        self._shell = Shell(folder, environment)
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._printed = self._messages = ""

    def close(self) -> None:
        self._shell.close()

    def do(self, block: Block) -> None:
        """Runs, writes or compares a block. Raises what goes wrong."""
        code = block.code
        for old, new in self._replace.items():
            code = code.replace(old, new)
        if block.deed in ("bash", "fails"):
            ended = f"if (\n{code}\n) then false; fi" if block.deed == "fails" else code
            self._printed, self._messages = self._shell.run(ended)
        elif block.deed == "python":
            self._printed, self._messages = self._python(code, block.line), ""
        elif block.deed == "file":
            (self._folder / block.more).write_text(code, encoding="utf-8")
        elif block.deed == "json":
            same_shape(json.loads(code), json.loads(self._printed))
        elif block.deed == "output":
            real = (self._printed + self._messages).strip() + "\n"
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert doctest.OutputChecker().check_output(code, real, flags), f"it is\n{real}\nthe page shows"

    def _python(self, code: str, line: int) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(self._folder):
            exec(compile("\n" * line + code, "<page>", "exec"), self._names)
        return printed.getvalue()


def same_shape(shown: Any, real: Any, where: str = "the answer") -> None:
    """Compares JSON that a page shows with what came: the same keys, kinds of values, and fixed words.

    "..." in a list stands for any further items, as a key for further keys, and at the end of a string for the rest.
    """
    if shown == "...":
        return
    if isinstance(shown, dict):
        assert isinstance(real, dict), f"{where} is {real!r}, the page shows an object"
        names = shown.keys() - {"..."}
        more = real.keys() - names if "..." not in shown else set()
        assert not more, f"{where} also has {more}"
        for name in names:
            assert name in real, f"{where} has no {name}, but {sorted(real)}"
            same_shape(shown[name], real[name], f"{where}.{name}")
    elif isinstance(shown, list):
        assert isinstance(real, list), f"{where} is {real!r}, the page shows a list"
        items = [item for item in shown if item != "..."]
        assert len(items) <= len(real) if "..." in shown else len(items) == len(real), f"{where} has {len(real)} items"
        for i, item in enumerate(items):
            same_shape(item, real[i], f"{where}[{i}]")
    elif isinstance(shown, str) and shown.endswith("..."):
        assert isinstance(real, str), f"{where} is {real!r}, the page shows a string"
        assert real.startswith(shown[:-3]), f"{where} is {real!r}, the page shows {shown!r}"
    elif isinstance(shown, float):
        assert isinstance(real, int | float), f"{where} is {real!r}, the page shows a number"
    else:
        assert shown == real, f"{where} is {real!r}, the page shows {shown!r}"
