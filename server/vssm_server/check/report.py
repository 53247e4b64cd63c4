"""Runs every check and prints what it finds as it finds it."""

import importlib.util
import logging
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape

from vssm_server.check import surroundings
from vssm_server.check.finding import Finding, Level, advise
from vssm_server.settings import Settings

MARKS = {Level.GOOD: "[green]ok    [/]", Level.ADVICE: "[yellow]advice[/]", Level.WRONG: "[red]wrong [/]"}
Check = tuple[str, Callable[[], Iterator[Finding]]]


def report(settings: Settings, out: Console) -> bool:
    """Whether nothing is wrong."""
    logging.disable()  # what loading a checkpoint would log is said here
    try:
        found = list(_found(settings, out))
    finally:
        logging.disable(logging.NOTSET)
    count = {level: sum(finding.level is level for finding in found) for level in Level}
    if count[Level.WRONG]:
        out.print(f"[red]{count[Level.WRONG]} wrong[/]: the service would not work as it should.")
    elif count[Level.ADVICE]:
        out.print("[green]nothing is wrong[/]; the advice above is for you to weigh.")
    else:
        out.print("[green]all is well[/]: vssm-server serve")
    return not count[Level.WRONG]


def _found(settings: Settings, out: Console) -> Iterator[Finding]:
    for doing, check in _checks(settings):
        with out.status(doing):
            for finding in check():
                _print(finding, out)
                yield finding


def _checks(settings: Settings) -> Iterator[Check]:
    yield "settings", lambda: surroundings.settings(settings)
    yield "callers", lambda: surroundings.callers(settings)
    yield "port", lambda: surroundings.port(settings)
    yield "Redis", lambda: surroundings.store(settings)
    yield "traces", surroundings.traces
    if importlib.util.find_spec("vssm") is None:
        yield "models", _no_library
        return
    with_torch = importlib.import_module("vssm_server.check.models")
    yield "device", lambda: with_torch.computing(settings)
    yield "loading the models and generating with each", lambda: with_torch.models(settings)


def _no_library() -> Iterator[Finding]:
    advice = 'for a worker: pip install "vssm-server[worker]"; an API needs no models'
    yield advise("models", "the model library is not installed here", advice)


def _print(finding: Finding, out: Console) -> None:
    out.print(f"{MARKS[finding.level]}  {finding.about:<9} {escape(finding.text)}", soft_wrap=True)
    if finding.advice:
        out.print(f"{'':<18}[dim]-> {escape(finding.advice)}[/]", soft_wrap=True)
