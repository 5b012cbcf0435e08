"""`session-risk replay`: a recording through the same stages in memory, what is said to files, a summary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from pipeline.assembly import chosen, options
from pipeline.console import as_json, grid, print_json, screen, tracked, working
from pipeline.kinds import stage_kinds
from pipeline.recorded import OUTPUT_TOPICS
from pipeline.recording import InputRecord, Truth, read, read_truth, write
from pipeline.reload import InForce
from pipeline.replay import Replay
from pipeline.scorecard import Scorecard
from pipeline.settings import load

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("replay", short_help="Play a recording through the same stages, without Kafka.")
@click.argument("recording", type=FOLDER)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for what is said.")
@click.option("--policy", type=click.Path(dir_okay=False, path_type=Path), help="Policy file to decide by.")
@click.option("--model", type=FOLDER, help="Folder of the model to score with.")
@click.option("--challenger", type=FOLDER, help="Folder of a model whose word is recorded, never followed.")
@click.option(
    "--partitions",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Partitions the sessions are spread over, as in Kafka.",
)
@as_json
def command(
    *, recording: Path, out: Path, policy: Path | None, model: Path | None, partitions: int, as_json: bool
) -> None:
    """Play RECORDING through the same stages as in a worker, in event-time order, without Kafka.

    What leaves is written to --out, a JSON-lines file per topic: all of it or nothing. The same recording,
    policy and model give the same bytes. With a `truth.jsonl` the result is held against the truth.
    """
    settings = load()
    in_force = InForce(chosen(settings, policy, model))
    stages = Replay(stage_kinds(in_force.brain, options(settings, partitions, event_clock=True)), partitions)
    card = Scorecard.against(truth_of(recording))
    total, records = records_of(recording)
    begun = perf_counter()
    with write(out) as writer:
        for message in stages.run(records):
            card.take(message)
            if message.topic in OUTPUT_TOPICS:
                writer.line(message.topic, message.value)
    summary = {
        "events": total,
        "seconds": round(perf_counter() - begun, 3),
        "dead_letters": stages.dead_letters,
        "model": in_force.brain.detector.id,
        "policy": in_force.policy.id,
        **card.plain(),
    }
    if as_json:
        print_json(summary)
    else:
        show(summary, out)


def records_of(recording: Path) -> tuple[int, Iterator[InputRecord]]:
    """Return how many records *recording* holds, and them; a bar shows how many are taken.

    Raises `RecordingError`.
    """
    with working("counting"):
        total = sum(1 for _ in read(recording))
    return total, tracked(read(recording), "playing", total)


def truth_of(recording: Path) -> list[Truth]:
    """Return the truth about *recording*, nothing if it is not labelled; raises `RecordingError`."""
    if any(recording.glob("truth.jsonl*")):
        return read_truth(recording)
    return []


def show(summary: dict[str, Any], out: Path) -> None:
    """Print *summary* for people."""
    console = screen()
    rate = round(summary["events"] / max(summary["seconds"], 0.001))
    console.print(f"{summary['events']:,} events in {summary['seconds']:.1f} s ({rate:,} a second)")
    console.print(f"decided by policy {summary['policy']} and model {summary['model']}")
    levels = ", ".join(f"{number:,} {level}" for level, number in summary["decisions"].items())
    rows = [
        ("decisions", levels),
        ("step-ups asked", summary["challenges"]),
        ("revocations", summary["revocations"]),
        ("dead letters", summary["dead_letters"]),
    ]
    if "families" in summary:
        rows.append(("false revocations", summary["false_revocations"]))
    console.print(grid("", ">", rows=[(name, value) for name, value in rows]))
    if "families" in summary:
        names = ("family", "label", ">sessions", ">found", ">step-up", ">revoked", ">median delay, s")
        console.print()
        console.print(grid(*names, rows=[tuple(row.values()) for row in summary["families"]]))
    console.print(f"\nwhat was said is in {out}; `session-risk explain ID --in {out}` tells of a decision")
