"""`session-risk settings`: every setting with its value and its default."""

from __future__ import annotations

import click
from pydantic import SecretStr

from pipeline.console import as_json, grid, print_json, screen
from pipeline.offline.docs.settings_page import table
from pipeline.settings.loading import load, load_transmitter


@click.command("settings", short_help="Show every setting and its value.")
@as_json
def command(*, as_json: bool) -> None:
    """Show every setting: its environment variable, current value and default. Secrets are not shown."""
    values = [value for group in (load(), load_transmitter()) for _, value in group]
    rows = [{**row._asdict(), "value": _shown(value)} for value, row in zip(values, table(), strict=True)]
    if as_json:
        print_json(rows)
        return
    cells = [(row["env"], row["value"], _default(row), row["description"]) for row in rows]
    screen().print(grid("setting", "value", "default", "description", rows=cells))


def _shown(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, SecretStr):
        return "set, not shown"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default(row: dict[str, str | None]) -> str | None:
    return "the same" if row["value"] == row["default"] else row["default"] or None
