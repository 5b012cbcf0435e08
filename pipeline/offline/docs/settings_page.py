"""Table of all settings, for the pages and for `session-risk settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.settings.loading import GROUPS, env_name


class Row(NamedTuple):
    """One setting, as texts."""

    env: str
    default: str
    type: str
    description: str


def table() -> tuple[Row, ...]:
    """Return a row for every setting, in the order of its class."""
    return tuple(
        Row(env_name(name, kind), _default(field), _type(field), field.description or "")
        for kind in GROUPS
        for name, field in kind.model_fields.items()
    )


def markdown() -> str:
    """Return the table of all settings as Markdown."""
    lines = ["| setting | default | type | what it is |", "|---|---|---|---|"]
    for row in table():
        default = f"`{row.default}`" if row.default else "–"
        lines.append(f"| `{row.env}` | {default} | {row.type} | {row.description} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.default is None:
        return ""
    if isinstance(field.default, SecretStr):
        return field.default.get_secret_value()
    return str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"


_WORDS: Final[dict[object, str]] = {
    bool: "true or false",
    float: "number",
    int: "whole number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
}


def _type(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] or [field.annotation]
    kind = kinds[0] if len(kinds) == 1 else Literal[tuple(kinds)]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    bounds = {type(bound).__name__: bound for bound in field.metadata}
    if "Ge" in bounds and "Le" in bounds:
        return f"{_WORDS[kind]}, {bounds['Ge'].ge} to {bounds['Le'].le}"
    return _WORDS[kind]
