"""`session-risk detections`: what is looked for, and all that is known of one detection."""

from __future__ import annotations

from typing import Any

import click

from pipeline.console import as_json, grid, print_json, screen
from pipeline.detections import BIT, unknown
from pipeline.offline.docs import detections_page


@click.command("detections", short_help="Tell what is looked for.")
@click.argument("detection", metavar="[ID]", required=False)
@as_json
def command(*, detection: str | None, as_json: bool) -> None:
    """Tell what is looked for in every session; with an ID, all that is known of that detection."""
    told = detections_page.entries()
    if detection is not None:
        told = [told[_place(detection)]]
    if as_json:
        print_json(told if detection is None else told[0])
    elif detection is None:
        _list(told)
    else:
        _show(told[0])


def _place(detection: str) -> int:
    if detection not in BIT:
        raise click.BadParameter(unknown(detection), param_hint="ID")
    return BIT[detection]


def _list(told: list[dict[str, Any]]) -> None:
    rows = [(one["id"], _alone(one), _cleared(one), one["text"]) for one in told]
    screen().print(grid("detection", "alone", "step-up clears", "holds when", rows=rows))


def _show(told: dict[str, Any]) -> None:
    console = screen()
    console.print(told["id"], style="bold")
    console.print(told["text"])
    console.print()
    console.print(grid("", "", rows=detections_page.lines(told)))
    console.print("\nin a policy", style="bold")
    click.echo(told["policy"])


def _alone(told: dict[str, Any]) -> str:
    return f"{told['alone']['level']} ({told['alone']['score']:g})"


def _cleared(told: dict[str, Any]) -> str:
    return "yes" if told["cleared_by_step_up"] else "no"
