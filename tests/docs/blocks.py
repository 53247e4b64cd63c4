"""The code blocks of a Markdown page, in their order, and what is to be done with each.

    ```python                      run in one namespace for the whole page
    ```bash                        run in one shell for the whole page
    ```json, ```output             what the block before it prints, `...` for anything
    <!-- file: NAME -->            the block that follows is written to a file
    <!-- fails: REASON -->         the block of bash that follows must fail
    <!-- not run: REASON -->       the block that follows is left out
    ```text                        a picture made of letters, no code

Any other block is an error: nothing is left out without a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from markdown_it import MarkdownIt

Deed = Literal["python", "bash", "json", "output", "file", "fails", "skip"]
_DEEDS: dict[str, Deed] = {"not run": "skip", "file": "file", "fails": "fails"}
_COMMENT = re.compile(r"<!-- (not run|file|fails): (.+?) -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code; `more` is the name of a file, or the reason why it is not run."""

    deed: Deed
    code: str
    line: int
    more: str = ""


class PageError(AssertionError):
    """A page with a block that nobody knows what to do with."""


def blocks_of(path: Path) -> list[Block]:
    """The blocks of a page. Raises PageError."""
    found: list[Block] = []
    said: tuple[str, str] | None = None
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        if token.type == "html_block" and (comment := _COMMENT.search(token.content)):
            said = comment[1], comment[2].strip()
        elif token.type in ("fence", "code_block"):
            assert token.map is not None
            block = _block(token.info.split(" ")[0], token.content, token.map[0] + 1, said, path)
            found += [block] if block else []
            said = None
        elif said is not None and token.nesting == 0 and token.type != "html_block":
            raise PageError(f"{path}: a comment {said} without a block behind it")
    return found


def _block(language: str, code: str, line: int, said: tuple[str, str] | None, path: Path) -> Block | None:
    if said is not None:
        return Block(_DEEDS[said[0]], code, line, said[1])
    if language == "text":
        return None
    if language in ("python", "bash", "json", "output"):
        return Block(language, code, line)  # type: ignore[arg-type]
    raise PageError(f"{path}:{line}: a block of {language!r} is neither run nor marked; see tests/docs/blocks.py")
