"""Messages of others in our words."""

import pytest
from typer.testing import CliRunner
from vssm_server.cli import app
from vssm_server.wording import kind_of, wrong


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Input should be greater than or equal to 0", "seed must be greater than or equal to 0"),
        (
            "Input should be a valid integer, unable to parse string as an integer",
            "seed must be a valid integer",
        ),
        ("Value error, too much", "seed: too much"),
        ("Field required", "seed: Field required"),
    ],
)
def test_rules_are_said_alike(theirs: str, ours: str) -> None:
    assert wrong("seed", theirs) == ours


def test_kinds_are_those_of_json() -> None:
    values: tuple[object, ...] = ("a", [], {}, None)
    assert [kind_of(value) for value in values] == ["a string", "a list", "an object", "null"]


def test_help_says_the_defaults() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    assert "(default: 8000; VSSM_PORT)" in " ".join(shown.replace("│", " ").split())
