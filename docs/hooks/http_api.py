"""The reference of the HTTP interface, from the OpenAPI description that the server itself gives at /openapi.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from vssm_server.api.app import create_app
from vssm_server.settings import Settings

from docs.hooks.tables import cell

Json = dict[str, Any]
_METHODS = ("get", "post", "delete")


def http_page() -> str:
    """The page."""
    document = create_app(Settings(redis_url="redis://none")).openapi()
    parts = [
        "# HTTP interface\n\nMade from the server's own description, `/openapi.json`; `/docs` shows it as well.",
        document["info"]["description"],
    ]
    for path, methods in document["paths"].items():
        parts += [_route(path, method, methods[method]) for method in _METHODS if method in methods]
    parts.append("## Types")
    parts += [_type(name, schema) for name, schema in document["components"]["schemas"].items()]
    return "\n\n".join(parts)


def _route(path: str, method: str, route: Json) -> str:
    parts = [f"## `{method.upper()} {path}`", f"**{route['summary']}.** {route.get('description', '')}"]
    if parameters := route.get("parameters"):
        rows = [(f"`{p['name']}`", p["in"], kind(p["schema"]), p.get("description", "")) for p in parameters]
        parts.append(table(("parameter", "in", "type", "meaning"), rows))
    if media := route.get("requestBody", {}).get("content", {}).get("application/json"):
        parts.append(f"The body: {kind(media['schema'])}." if "$ref" in media["schema"] else fields(media["schema"]))
        parts += [_example(example) for example in media.get("examples", {}).values()]
    answers = [(code, _answer(answer), answer["description"]) for code, answer in sorted(route["responses"].items())]
    parts.append(table(("status", "body", "meaning"), answers))
    return "\n\n".join(parts)


def _example(example: Json) -> str:
    return f"{example['summary']}:\n\n```json\n{json.dumps(example['value'])}\n```"


def _answer(answer: Json) -> str:
    kinds = [
        kind(media["schema"]) if name == "application/json" and media.get("schema") else f"`{name}`"
        for name, media in answer.get("content", {}).items()
    ]
    return ", ".join(kinds)


def _type(name: str, schema: Json) -> str:
    return f"### {name}\n\n{schema.get('description', '')}\n\n{fields(schema)}"


def fields(schema: Json) -> str:
    """A table of the fields of an object."""
    if "properties" not in schema:
        return kind(schema)
    needed = schema.get("required", ())
    rows = [
        (f"`{name}`", kind(part), _default(name, part, needed), part.get("description", ""))
        for name, part in schema["properties"].items()
    ]
    return table(("field", "type", "default", "meaning"), rows)


def _default(name: str, part: Json, needed: list[str]) -> str:
    if name in needed:
        return ""
    return "none" if part.get("default") is None else f"`{json.dumps(part['default'])}`"


def kind(schema: Json) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(kind(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    bounds = {"≥": "minimum", "≤": "maximum", "length ≥": "minLength", "length ≤": "maxLength"}
    words = [f"{sign} {schema[bound]:,}" for sign, bound in bounds.items() if bound in schema]
    return " ".join([schema.get("type", "any"), ", ".join(words)]).strip()


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *([cell(str(part)) for part in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
