"""`session-risk policy`: show a policy, or check it before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.console import as_json, grid, print_json, screen
from pipeline.decisions.policy import read_policy
from pipeline.settings.loading import load

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("policy", short_help="Show or check a policy.")
def command() -> None:
    """The policy: every number and choice of a deployment that affects decisions."""


@command.command("show")
@click.argument("file", required=False, type=FILE)
@as_json
def show(*, file: Path | None, as_json: bool) -> None:
    """Show the policy in FILE, else that of the settings, else the default; differences are marked."""
    policy = read_policy(file or load().policy_file)
    if as_json:
        print_json({"id": policy.id, **policy.model_dump(mode="json")})
        return
    default = dict(_leaves(read_policy(None).model_dump(mode="json")))
    fields = dict(_leaves(policy.model_dump(mode="json")))
    rows = [(name, _text(value), _change(name, value, default)) for name, value in fields.items()]
    console = screen()
    console.print(f"policy {policy.id}")
    console.print(grid("field", "value", "", rows=rows))


@command.command("check")
@click.argument("file", type=FILE)
@as_json
def check(*, file: Path, as_json: bool) -> None:
    """Check whether the policy in FILE is valid, and show the id it would have."""
    policy = read_policy(file)
    if as_json:
        print_json({"id": policy.id, "mode": policy.mode})
    else:
        click.echo(f"{file} can be put in force: {policy.id}, mode {policy.mode}")


def _leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name}.{key}".lstrip("."))]
    return [(name, value)]


def _change(name: str, value: Any, default: dict[str, Any]) -> str:
    if name not in default:
        return "added"
    return "" if value == default[name] else f"not {_text(default[name])}"


def _text(value: Any) -> str:
    if value is None or value in ({}, []):
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
