"""The reference of the commands, from their own help."""

from __future__ import annotations

import inspect
from typing import Any

from typer.main import get_command
from vssm_client.cli import app as client
from vssm_server.cli import app as server

from docs.hooks.tables import cell
from vssm.cli import app as vssm

COMMANDS = {"vssm": vssm, "vssm-server": server, "vssm-client": client}
_SETTINGS = 8  # a command with more options of settings points to their page


def commands_page() -> str:
    """The page."""
    parts = [
        "# Commands\n\nEach says the same with `--help`. `--install-completion` makes your shell complete commands and "
        "options when you press Tab (bash, zsh, fish, PowerShell); `--show-completion` prints what it would install. "
        "What a person can put right ends with a message and exit code 2, trouble of a server with 1, a signal with "
        "130. Progress is shown on a terminal only, results go to standard output, all else to standard error."
    ]
    for name, app in COMMANDS.items():
        group: Any = get_command(app)
        parts.append(f"## {name}\n\n{group.help}")
        parts += [_command(name, each) for each in group.commands.values()]
    return "\n\n".join(parts)


def _command(program: str, command: Any) -> str:
    context = command.make_context(command.name, [], resilient_parsing=True)
    usage = " ".join([program, command.name, *command.collect_usage_pieces(context)])
    words = inspect.cleandoc(command.help or "").partition("Example")[0]
    parts = [f"### {program} {command.name}", words.strip(), f"```text\n{usage}\n```"]
    if lines := examples_of(command):
        parts.append("```bash\n" + "\n".join(lines) + "\n```")
    parts.append(_options(command, context))
    return "\n\n".join(filter(None, parts))


def examples_of(command: Any) -> list[str]:
    """The examples in the help of a command, one line each."""
    examples = inspect.cleandoc(command.help or "").partition("Example")[2]
    return [line.strip() for line in examples.splitlines()[1:] if line.strip()]


def _options(command: Any, context: Any) -> str:
    records = [param.get_help_record(context) for param in command.get_params(context)]
    shown = [record for record in records if record is not None and not record[0].startswith("--help")]
    settings = [record for record in shown if "VSSM_" in record[1]]
    if len(settings) > _SETTINGS:
        shown = [record for record in shown if record not in settings]
    lines = [f"| `{cell(name)}` | {cell(_escaped(words))} |" for name, words in shown]
    rows = "\n".join(["| | |", "| --- | --- |", *lines]) if lines else ""
    return rows + ("\n\nEvery [setting](settings.md) is an option." if len(settings) > _SETTINGS else "")


def _escaped(words: str) -> str:
    return words.replace("[", "\\[").replace("<", "&lt;")
