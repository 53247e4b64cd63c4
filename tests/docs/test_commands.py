"""Every command of the three programs has help with examples that it accepts, and completes in a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.hooks.commands import COMMANDS, examples_of

EVERY = [(name, command) for name, app in COMMANDS.items() for command in get_command(app).commands.values()]  # type: ignore[attr-defined]
MODULES = {"vssm": "vssm.cli", "vssm-server": "vssm_server.cli", "vssm-client": "vssm_client.cli"}


@pytest.mark.parametrize(("program", "command"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_help_has_examples_that_are_accepted(program: str, command: Any) -> None:
    examples = examples_of(command)
    assert examples
    for example in examples:
        words = [word for word in shlex.split(example) if "=" not in word or not word.startswith("VSSM_")]
        assert words[:2] == [program, command.name]
        command.make_context(command.name, words[2:])  # ends with an error for what it does not know


@pytest.mark.parametrize("program", COMMANDS)
def test_shells_complete_commands(program: str, tmp_path: Path) -> None:
    """What `--show-completion` prints, done by hand: bash calls the program with COMP_WORDS."""
    run = f"from {MODULES[program]} import app; app(prog_name='{program}')"
    first = get_command(COMMANDS[program]).commands  # type: ignore[attr-defined]
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    asked = {variable: "complete_bash", "COMP_WORDS": f"{program} ", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", run]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert set(first) <= set(done.stdout.split()), done.stderr
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # not the shell that runs the tests
    shown = subprocess.run(
        [*command, "--show-completion", "bash"], env=named, capture_output=True, text=True, check=False
    )
    assert variable in shown.stdout
