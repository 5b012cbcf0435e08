"""`session-risk convert`: logs of other systems converted into a recording, one sub-command per source."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.console import as_json, grid, print_json, screen, working
from pipeline.offline.replay.recording import write_conversion
from pipeline.sources import SOURCES, Source


@click.group("convert", short_help="Convert logs of other systems into a recording.")
def command() -> None:
    """Convert logs of other systems into a recording that can be replayed."""


def _convert(source: Source, files: tuple[Path, ...], out: Path, *, as_json: bool) -> None:
    with working("converting"):
        conversion = source.convert(files)
        write_conversion(conversion, out)
    counts = conversion.counts
    if as_json:
        fields = {"read": counts.read, "converted": dict(counts.converted), "skipped": dict(counts.skipped)}
        print_json(fields)
        return
    rows = [("read", counts.read)]
    rows += [(f"to {topic}", number) for topic, number in counts.converted.items()]
    rows += [(f"skipped, {reason.replace('_', ' ')}", number) for reason, number in counts.skipped.items()]
    screen().print(grid("records", ">", rows=rows))
    click.echo(f"the recording is in {out}")


def _help_of(source: Source) -> str:
    return (
        f"Convert {source.title} FILES, or folders of them, into {' and '.join(source.events)} records.\n\n"
        f"FILES: {source.files}. Records that become no event are counted with the reason. "
        "A recording is written only if everything can be read."
    )


def _subcommand(source: Source) -> click.Command:
    """The sub-command of one row of the table of sources."""

    @click.command(source.name, help=_help_of(source))
    @click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
    @click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the recording.")
    @as_json
    def convert(*, files: tuple[Path, ...], out: Path, as_json: bool) -> None:
        _convert(source, files, out, as_json=as_json)

    return convert


for _source in SOURCES.values():
    command.add_command(_subcommand(_source))
