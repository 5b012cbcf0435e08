"""`session-risk schemas`: the contract as JSON Schema and AsyncAPI."""

from __future__ import annotations

from pathlib import Path

import click

from schemas.export import COMMITTED, export


@click.group("schemas", short_help="Write the contract for other languages.")
def command() -> None:
    """The contract with those who send and receive, for other languages."""


@command.command("export")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=COMMITTED,
    help="Folder to write to; else that of the checkout, schemas/json.",
)
def export_all(*, out: Path) -> None:
    """Write a JSON Schema for each topic, and an AsyncAPI document of all."""
    written = export(out)
    click.echo(f"{len(written)} documents are in {out}")
