"""`session-risk convert`: other people's logs as a recording, a sub-command for each source."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.console import as_json, grid, print_json, screen, working
from pipeline.offline.replay.recording import write_conversion
from pipeline.sources.cloudtrail import convert


@click.group("convert", short_help="Turn other people's logs into a recording.")
def command() -> None:
    """Turn other people's logs into a recording that can be replayed."""


@command.command("cloudtrail")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the recording.")
@as_json
def cloudtrail(*, files: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Turn AWS CloudTrail FILES, or folders of them, into auth events and API calls.

    What becomes of no event is counted with the reason. Nothing is written unless all of it is.
    """
    with working("converting"):
        conversion = convert(files)
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
