"""`session-risk simulate`: simulated days as a labelled recording."""

from __future__ import annotations

from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from pipeline.console import as_json, print_json, tracked
from pipeline.offline.simulation import FAMILY_NAMES, MAX_NOISE, MONDAY_MS, WORLDS, simulate, write_world
from pipeline.offline.simulation.plan import INTENSITIES


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """The named families; all of them must exist."""
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if name not in FAMILY_NAMES:
            near = get_close_matches(name, FAMILY_NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"families are {', '.join(FAMILY_NAMES)}"
            raise click.BadParameter(f"no such family: {name}; {hint}")
    return names


@click.command("simulate", short_help="Write a labelled recording of simulated days.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the recording.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same bytes.")
@click.option(
    "--hours",
    type=click.FloatRange(0, 24 * 366, min_open=True),
    default=24.0,
    show_default=True,
    help="Simulated duration.",
)
@click.option(
    "--principals",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="People, services, keys and agents.",
)
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    default=f"{datetime.fromtimestamp(MONDAY_MS / 1000, UTC):%Y-%m-%d}",
    show_default=True,
    help="Start time, UTC.",
)
@click.option(
    "--world",
    type=click.Choice(sorted(WORLDS)),
    default="test",
    show_default=True,
    help="People, networks and attack variants; train and test have none in common.",
)
@click.option(
    "--attack-share",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Attacks per day and principal.",
)
@click.option(
    "--oddity-share",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Unusual but honest activities per day and principal.",
)
@click.option(
    "--families", callback=_names, metavar="NAME,...", help="Only these attacks and honest activities.  [default: all]"
)
@click.option(
    "--intensity", type=click.Choice(INTENSITIES), help="Intensity of all attacks.  [default: all three in turn]"
)
@click.option(
    "--noise",
    type=click.FloatRange(0, MAX_NOISE),
    default=1.0,
    show_default=True,
    help="Late, repeated and incomplete events, wrong clocks: 0 none, 1 usual.",
)
@as_json
def command(*, out: Path, start: datetime, as_json: bool, **parameters: Any) -> None:
    """Simulate three companies and write a recording: events of all three topics, with attacks among them.

    `truth.jsonl` has the ground truth of each session; `sessions.jsonl` and `world.json` what the evaluation in
    labelled worlds needs beside it. Nothing is written if anything fails.
    """
    start_ms = round(start.replace(tzinfo=UTC).timestamp() * 1000)
    simulation = simulate(start_ms=start_ms, **parameters)
    events = write_world(simulation, out, tracked(simulation, "simulating", None))
    attacks = sum(row.label == "attack" for row in simulation.truth)
    fields = {"events": events, "sessions": len(simulation.truth), "attacked": attacks, "out": str(out)}
    if as_json:
        print_json(fields)
    else:
        click.echo(f"{events:,} events of {fields['sessions']:,} sessions, {attacks:,} of them attacked, are in {out}")
