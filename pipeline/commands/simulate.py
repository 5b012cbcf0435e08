"""`session-risk simulate`: simulated days as a labelled recording."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from pipeline.console import as_json, print_json, tracked
from pipeline.recording import write
from pipeline.simulate import MONDAY_MS, simulate


@click.command("simulate", short_help="Write a labelled recording of simulated days.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the recording.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed makes the same bytes.")
@click.option(
    "--hours",
    type=click.FloatRange(0, 24 * 366, min_open=True),
    default=24.0,
    show_default=True,
    help="How long.",
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
    help="When it begins, UTC.",
)
@as_json
def command(*, out: Path, seed: int, hours: float, principals: int, start: datetime, as_json: bool) -> None:
    """Write the life of three companies as a recording: events of all three topics, attacks among them.

    `truth.jsonl` says of each session what it really was. Nothing is written unless all of it is.
    """
    start_ms = round(start.replace(tzinfo=UTC).timestamp() * 1000)
    simulation = simulate(seed, hours, principals, start_ms)
    events = 0
    with write(out) as writer:
        for topic, event in tracked(simulation, "simulating", None):
            writer.event(topic, event)
            events += 1
        for row in simulation.truth:
            writer.truth(row)
    attacks = sum(row.label == "attack" for row in simulation.truth)
    told = {"events": events, "sessions": len(simulation.truth), "attacked": attacks, "out": str(out)}
    if as_json:
        print_json(told)
    else:
        click.echo(
            f"{events:,} events of {told['sessions']:,} sessions, {attacks:,} of them attacked, are in {out}"
        )
