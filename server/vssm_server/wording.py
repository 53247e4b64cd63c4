"""What pydantic and Python say, in the words of the other messages."""

import re
from collections.abc import Iterable

_RULE = re.compile(r"Input should be (.*?)(, unable to parse .*)?", re.DOTALL)
_KINDS = {"str": "a string", "int": "a number", "float": "a number", "bool": "true or false", "list": "a list"}
_KINDS |= {"dict": "an object", "NoneType": "null"}


def wrong(name: str, message: str) -> str:
    """`seed must be ...`; a message that is no such rule stands behind a colon."""
    rule = _RULE.fullmatch(message)
    return f"{name} must be {rule[1]}" if rule else f"{name}: {message.removeprefix('Value error, ')}"


def kind_of(value: object) -> str:
    """The kind of a JSON value, for people who may not know Python."""
    return _kind(type(value))


def kinds(types: Iterable[type]) -> str:
    """Several of them, each once."""
    return ", ".join(sorted({_kind(kind) for kind in types}))


def _kind(kind: type) -> str:
    return _KINDS.get(kind.__name__, f"a {kind.__name__}")
