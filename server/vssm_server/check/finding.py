"""What a check says."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    GOOD = "good"
    ADVICE = "advice"  # works, and could be better
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `advice` says what to do."""

    about: str
    level: Level
    text: str
    advice: str | None = None


def good(about: str, text: str) -> Finding:
    """As it should be."""
    return Finding(about, Level.GOOD, text)


def advise(about: str, text: str, advice: str) -> Finding:
    """Works, and could be better."""
    return Finding(about, Level.ADVICE, text, advice)


def wrong(about: str, text: str, advice: str) -> Finding:
    """Does not work."""
    return Finding(about, Level.WRONG, text, advice)
