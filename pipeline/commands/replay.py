"""`session-risk replay`: a recording through the same stages in memory, what is said to files, a summary."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time
from typing import Any

import click

from models.artefacts import load_roles
from pipeline.assembly import chosen, leaving, model_in, options, stage_kinds
from pipeline.console import as_json, grid, print_json, screen, tracked, working
from pipeline.control.active import Challenger
from pipeline.control.reloader import ConfigReloader
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from pipeline.offline.replay.from_kafka import laid_down, lay_down
from pipeline.offline.replay.recording import InputRecord, read, read_truth, write
from pipeline.offline.replay.runner import Replay
from pipeline.offline.replay.summary import Scorecard
from pipeline.process_setup import search_seldom
from pipeline.settings.loading import Settings, load
from pipeline.sources.ground_truth import Truth
from pipeline.times import moment_ms

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
Source = tuple[int, Iterator[InputRecord]]
"""How many records there are, and the records."""


@click.command("replay", short_help="Play a recording through the same stages, without Kafka.")
@click.argument("recording", type=FOLDER, required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for what is said.")
@click.option("--policy", type=click.Path(dir_okay=False, path_type=Path), help="Policy file to decide by.")
@click.option("--model", type=FOLDER, help="Folder of the model to score with.")
@click.option("--challenger", type=FOLDER, help="Folder of a model whose word is recorded, never followed.")
@click.option("--from-topics", is_flag=True, help="Play what Kafka's topics still hold, not a RECORDING.")
@click.option("--since", help="With --from-topics: what came since (7d, 12h, 2026-03-02T08:00); else all.")
@click.option(
    "--partitions",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Partitions the sessions are spread over, as in Kafka.",
)
@as_json
def command(
    *,
    recording: Path | None,
    out: Path,
    policy: Path | None,
    model: Path | None,
    challenger: Path | None,
    from_topics: bool,
    since: str | None,
    partitions: int,
    as_json: bool,
) -> None:
    """Play RECORDING through the same stages as in a worker, in event-time order, without Kafka.

    What leaves is written to --out, a JSON-lines file per topic: all of it or nothing. The same recording,
    policy and model give the same bytes. With a `truth.jsonl` the result is held against the truth. With
    --from-topics the recording is what SESSION_RISK_BROKER still holds: sessions that began before that, and
    what was normal then, are not known. Whose a record is, SESSION_RISK_TENANCY asks of topics only: a file
    keeps no headers. `session-risk diff` tells two replays apart.
    """
    settings = load()
    since_ms = _since(recording, since, from_topics=from_topics)
    in_force = ConfigReloader(chosen(settings, policy, model))
    if challenger is not None:
        in_force.brain.challengers = (Challenger(model_in(challenger), load_roles(challenger)),)
    options_read = options(settings, partitions, event_clock=True, from_topics=from_topics)
    stages = Replay(leaving(settings, stage_kinds(in_force.brain, options_read)), partitions)
    card = Scorecard.against(truth_of(recording) if recording else [])
    with _records(recording, settings, since_ms) as (total, records), write(out) as writer:
        search_seldom()
        begun = perf_counter()
        for message in stages.run(records):
            card.take(message)
            if message.topic in OUTPUT_TOPICS:
                writer.line(message.topic, message.value)
        seconds = round(perf_counter() - begun, 3)
    summary = {
        "events": total,
        "seconds": seconds,
        "dead_letters": stages.dead_letters,
        "model": in_force.brain.detector.id,
        "policy": in_force.policy.id,
        **card.plain(),
    }
    if as_json:
        print_json(summary)
    else:
        show(summary, out)


def _since(recording: Path | None, since: str | None, *, from_topics: bool) -> int:
    """From when on topics are played, 0 for all they hold; raises `UsageError` where the options disagree."""
    if from_topics == (recording is not None):
        raise click.UsageError("name a RECORDING, or --from-topics to play what Kafka still holds")
    if since is None:
        return 0
    if not from_topics:
        raise click.UsageError("--since goes with --from-topics; a RECORDING is played whole")
    try:
        return moment_ms(since, int(time() * 1000), ahead=False)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error


@contextmanager
def _records(recording: Path | None, settings: Settings, since_ms: int) -> Iterator[Source]:
    """Give what is to be played; what comes from topics is on disk while the block lasts."""
    if recording is not None:
        yield records_of(recording)
        return
    with TemporaryDirectory(prefix="session-risk-") as folder:
        with working(f"reading from {settings.broker}"):
            total = asyncio.run(lay_down(Connection.of(settings), Path(folder), since_ms))
        yield total, tracked(laid_down(Path(folder)), "playing", total)


def records_of(recording: Path) -> Source:
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
