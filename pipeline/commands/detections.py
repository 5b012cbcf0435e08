"""`session-risk detections`: the catalogue of detections, and everything about one of them."""

from __future__ import annotations

from typing import Any

import click

from pipeline.console import as_json, grid, print_json, screen
from pipeline.detections import BIT, unknown_detection
from pipeline.offline.docs import detections_page


@click.command("detections", short_help="List the detections, or describe one.")
@click.argument("detection", metavar="[ID]", required=False)
@as_json
def command(*, detection: str | None, as_json: bool) -> None:
    """List what is detected in every session; with an ID, describe that detection in full."""
    records = detections_page.entries()
    if detection is not None:
        records = [records[_index(detection)]]
    if as_json:
        print_json(records if detection is None else records[0])
    elif detection is None:
        _list(records)
    else:
        _show(records[0])


def _index(detection: str) -> int:
    if detection not in BIT:
        raise click.BadParameter(unknown_detection(detection), param_hint="ID")
    return BIT[detection]


def _list(records: list[dict[str, Any]]) -> None:
    rows = [(fields["id"], _alone(fields), _cleared(fields), fields["text"]) for fields in records]
    screen().print(grid("detection", "alone", "step-up clears", "holds when", rows=rows))


def _show(fields: dict[str, Any]) -> None:
    console = screen()
    console.print(fields["id"], style="bold")
    console.print(fields["text"])
    console.print()
    console.print(grid("", "", rows=detections_page.lines(fields)))
    console.print("\nin a policy", style="bold")
    click.echo(fields["policy"])


def _alone(fields: dict[str, Any]) -> str:
    return f"{fields['alone']['level']} ({fields['alone']['score']:g})"


def _cleared(fields: dict[str, Any]) -> str:
    return "yes" if fields["cleared_by_step_up"] else "no"
