"""Progress bars of the commands."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    """Units per second over the last half minute or so."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def counting_bar(console: Console, unit: str, *fields: str) -> Progress:
    """Return a progress bar that counts `unit`s, with rate, time left and the named text fields."""
    counts = (
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    texts = (TextColumn(f"{{task.fields[{field}]}}") for field in fields)
    columns = (TextColumn("{task.description}"), BarColumn(20), *counts, *texts)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def download_bar(console: Console) -> Progress:
    """Return a progress bar that counts bytes."""
    columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn(), TransferSpeedColumn())
    left = TimeRemainingColumn(compact=True)
    return Progress(*columns, left, console=console, transient=True, disable=not console.is_terminal)
