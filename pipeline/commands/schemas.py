"""`session-risk schemas`: the wire format as JSON Schema and AsyncAPI."""

from __future__ import annotations

from pathlib import Path

import click

from schemas.export import COMMITTED, export


@click.group("schemas", short_help="Write the wire format as JSON Schema and AsyncAPI.")
def command() -> None:
    """The wire format of all topics, for producers and consumers in other languages."""


@command.command("export")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=COMMITTED,
    help="Folder to write to.  [default: schemas/json of the checkout]",
)
def export_all(*, out: Path) -> None:
    """Write a JSON Schema for each topic, and one AsyncAPI document."""
    written = export(out)
    click.echo(f"{len(written)} documents are in {out}")
