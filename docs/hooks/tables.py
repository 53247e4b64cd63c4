"""Tables of fields of pydantic classes: the server's settings, and what may stand in a recipe."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from vssm_server.settings import PREFIX, Settings

from vssm import config
from vssm.baselines.config import FAMILIES
from vssm.recipe import DataSettings, TrainingSettings

_MODEL_PARTS = {
    "Encoder": "`encoder`",
    "Decoder": "`decoder`",
    "GaussianLevel": "one of `levels`",
    "CategoricalLevel": "one of `levels`",
    "Image": "`image`",
    "Bernoulli": "`observation`",
    "Categorical": "`observation`",
    "LogisticMixture": "`observation`",
    "Gaussian": "`observation`",
    "StudentT": "`observation`",
}


def cell(text: str) -> str:
    """Text that fits into a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def settings_page() -> str:
    """The settings of the server."""
    lines = ["| variable, flag | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        flag = f"`{PREFIX}{name.upper()}` `--{name.replace('_', '-')}`"
        lines.append(f"| {flag} | {_default(field)} | {cell(_allowed(field))} | {cell(field.description or '')} |")
    return (
        "# Settings\n\nEnvironment variables of every part of the server, and flags of `vssm-server serve`, `api` and "
        "`worker`; a flag wins. A `VSSM_*` variable that is none of these is an error. Two more are read by others: "
        "`VSSM_DATA` (where the library keeps data sets) and `VSSM_URL` (where `vssm-client` finds the server).\n\n"
    ) + "\n".join(lines)


def recipes_page() -> str:
    """What may stand in a recipe."""
    parts = [
        "# Recipes\n\nA recipe is a TOML file with three tables: `[model]`, `[data]`, `[training]`. All of it is "
        "checked before anything is computed, and a field that is not listed here is an error. Those in the folder "
        "`recipes/` are good places to start; `vssm train RECIPE --set TABLE.FIELD=VALUE` changes a field for once.",
        f"## `[data]`\n\n{_words(DataSettings)}\n\n{_fields(DataSettings)}",
        f"## `[training]`\n\n{_words(TrainingSettings)}\n\n{_fields(TrainingSettings)}",
        f"## `[model]`\n\n{_words(config.ModelConfig)}\n\n{_fields(config.ModelConfig)}",
    ]
    for name, place in _MODEL_PARTS.items():
        part = getattr(config, name)
        parts.append(f"### {name}: {place}\n\n{_words(part)}\n\n{_fields(part)}")
    rivals = ", ".join(f'`family = "{name}"`' for name in FAMILIES if name != "vssm")
    parts.append(f"## Rivals\n\nWith {rivals} the model is one of those that a VSSM is compared with.")
    return "\n\n".join(parts)


def _words(part: type[BaseModel]) -> str:
    return inspect.cleandoc(part.__doc__ or "")


def _fields(part: type[BaseModel]) -> str:
    said = _said(part)
    lines = ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in part.model_fields.items():
        if field.exclude:
            continue
        words = field.description or said.get(name, "")
        lines.append(f"| `{name}` | {cell(_type(field))} | {_default(field)} | {cell(words)} |")
    return "\n".join(lines)


def _said(part: type[BaseModel]) -> dict[str, str]:
    """The strings behind fields."""
    body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            found[before.target.id] = ast.literal_eval(after.value)
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.default
    return "none" if value in (None, "") else f"`{json.dumps(value, default=str)}`".replace('"', "")


def _type(field: FieldInfo) -> str:
    kinds = _kinds(field.annotation)
    return f"{kinds} {_bounds(field)}".strip()


def _kinds(annotation: Any) -> str:
    names = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): ""}
    if annotation in names:
        return names[annotation]
    arguments = get_args(annotation)
    if arguments and all(isinstance(value, str | int) for value in arguments):
        return " or ".join(f"`{value}`" for value in arguments)
    if arguments:
        return " or ".join(filter(None, (_kinds(part) for part in arguments if part is not ...)))
    return str(getattr(annotation, "__name__", ""))


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{signs[name]} {getattr(m, name):,}" for m in field.metadata for name in signs if hasattr(m, name)]
    return ", ".join(found)


def _allowed(field: FieldInfo) -> str:
    return _type(field).replace("Path", "path")
