"""Docstrings align what belongs together in columns; Markdown would run such lines into one. They become code.

name    what it is          two lines or more, each with two blanks or more between its columns
+-- a branch of a tree
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_COLUMNS = re.compile(r"^\S+(?: \S+)*  +\S")


class Columns(griffe.Extension):
    """Indents columns, so that they are shown as they stand."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for everything that may have a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = indented(obj.docstring.value)


def indented(text: str) -> str:
    """The text with paragraphs of columns as blocks of code."""
    parts = re.split(r"(\n\s*\n)", text)
    return "".join(_code(part) if _is_table(part) else part for part in parts)


def _is_table(paragraph: str) -> bool:
    first, *more = paragraph.splitlines() or [""]
    if any(line.lstrip("| ").startswith("+--") for line in more):
        return True
    return bool(_COLUMNS.match(first)) and bool(more) and all(line[:1] == " " or _COLUMNS.match(line) for line in more)


def _code(paragraph: str) -> str:
    return "\n".join(f"    {line}" for line in paragraph.splitlines())
