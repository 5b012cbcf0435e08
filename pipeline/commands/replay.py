"""`session-risk replay`: a recording run through a worker's processors in memory; outputs to files, then a summary."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time
from typing import Any, Literal

import click

from models.artefacts import load_roles
from pipeline.assembly import configured_with, load_model, options, processor_specs, pseudonymized
from pipeline.console import as_json, grid, print_json, screen, tracked, working
from pipeline.control.active import Challenger
from pipeline.control.reloader import ConfigReloader
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.answers import SHARE, Answers
from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from pipeline.offline.replay.from_kafka import read_spooled, spool_topics
from pipeline.offline.replay.labels import Truths
from pipeline.offline.replay.recording import InputRecord, RecordingError, read, read_truth, write
from pipeline.offline.replay.runner import Replay
from pipeline.offline.replay.summary import Scorecard
from pipeline.process_setup import tune_garbage_collection
from pipeline.settings.loading import Settings, load
from pipeline.sources.ground_truth import Truth
from pipeline.times import moment_ms

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
Source = tuple[int, Iterator[InputRecord]]
"""The number of records, and the records."""


@click.command("replay", short_help="Run a recording through a worker's processors, without Kafka.")
@click.argument("recording", type=FOLDER, required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the output files.")
@click.option("--policy", type=click.Path(dir_okay=False, path_type=Path), help="Policy file to decide with.")
@click.option("--model", type=FOLDER, help="Folder of the model to score with.")
@click.option("--challenger", type=FOLDER, help="Folder of a model whose decisions are recorded without effect.")
@click.option("--from-topics", is_flag=True, help="Replay what is still in Kafka's topics instead of a RECORDING.")
@click.option("--since", help="With --from-topics: only records since then (7d, 12h, 2026-03-02T08:00); else all.")
@click.option(
    "--partitions",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Partitions over which sessions are spread, as in Kafka.",
)
@click.option(
    "--answers",
    "who",
    type=click.Choice(["none", "honest"]),
    default="none",
    show_default=True,
    help="Who answers challenges: nobody, or people in honest sessions by the recording's truth.jsonl.",
)
@click.option(
    "--answered-share",
    type=click.FloatRange(0, 1),
    help=f"With --answers honest: the share of challenges that are answered; else {SHARE:g}.",
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
    who: Literal["none", "honest"],
    answered_share: float | None,
    as_json: bool,
) -> None:
    """Run RECORDING through the same processors as a worker, in event-time order, without Kafka.

    Output is written to --out, one JSON-lines file per topic; nothing is written if anything fails. The same recording,
    policy and model give the same bytes. If the recording has a `truth.jsonl`, the result is compared with it. Nobody
    in a recording answers this replay's challenges; with --answers honest, people whose session is honest at that time
    pass them 10 to 90 seconds later, and services, keys, agents and intruders do not. With
    --from-topics the records are those that SESSION_RISK_BROKER still has: sessions that started earlier, and earlier
    baselines, are unknown. SESSION_RISK_TENANCY applies to topics only, as files have no headers. `session-risk diff`
    compares two replays.
    """
    settings = load()
    since_ms = _since(recording, since, from_topics=from_topics)
    truth = truth_of(recording) if recording else []
    answers = _answers(who, answered_share, recording, truth)
    reloader = ConfigReloader(configured_with(settings, policy, model))
    if challenger is not None:
        reloader.active.challengers = (Challenger(load_model(challenger), load_roles(challenger)),)
    processor_options = options(settings, partitions, event_clock=True, from_topics=from_topics)
    replay = Replay(
        pseudonymized(settings, processor_specs(reloader.active, processor_options)), partitions, answers=answers
    )
    card = Scorecard.against(truth)
    with _records(recording, settings, since_ms) as (total, records), write(out) as writer:
        tune_garbage_collection()
        begun = perf_counter()
        for message in replay.run(records):
            card.take(message)
            if message.topic in OUTPUT_TOPICS:
                writer.line(message.topic, message.value)
        seconds = round(perf_counter() - begun, 3)
    summary = {
        "events": total,
        "seconds": seconds,
        "dead_letters": replay.dead_letters,
        "model": reloader.active.detector.id,
        "policy": reloader.policy.id,
        **card.plain(),
        "answers": who,
        "challenges_answered": answers.answered if answers else 0,
    }
    if as_json:
        print_json(summary)
    else:
        show(summary, out)


def _since(recording: Path | None, since: str | None, *, from_topics: bool) -> int:
    """Time in ms from which topics are replayed, 0 for all; `UsageError` if the options contradict each other."""
    if from_topics == (recording is not None):
        raise click.UsageError("give a RECORDING, or --from-topics to replay what is still in Kafka")
    if since is None:
        return 0
    if not from_topics:
        raise click.UsageError("--since needs --from-topics; a RECORDING is replayed as a whole")
    try:
        return moment_ms(since, int(time() * 1000), ahead=False)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error


def _answers(who: str, share: float | None, recording: Path | None, truth: list[Truth]) -> Answers | None:
    """Return who answers challenges, None for nobody; an error if nothing says which sessions are honest."""
    if who == "none":
        if share is not None:
            raise click.UsageError("--answered-share needs --answers honest; else nobody answers")
        return None
    if recording is None:
        raise click.UsageError("--answers honest needs a RECORDING with a truth.jsonl; topics do not say who is honest")
    if not truth:
        raise RecordingError(
            f"{recording} is not labelled: --answers honest needs a truth.jsonl that says which sessions are honest; "
            "add one, or replay with --answers none"
        )
    return Answers(Truths(truth).is_honest, SHARE if share is None else share)


@contextmanager
def _records(recording: Path | None, settings: Settings, since_ms: int) -> Iterator[Source]:
    """Yield the records to replay; those from topics are in a temporary folder inside the block."""
    if recording is not None:
        yield records_of(recording)
        return
    with TemporaryDirectory(prefix="session-risk-") as folder:
        with working(f"reading from {settings.broker}"):
            total = asyncio.run(spool_topics(Connection.of(settings), Path(folder), since_ms))
        yield total, tracked(read_spooled(Path(folder)), "replaying", total)


def records_of(recording: Path) -> Source:
    """Return the number of records in *recording*, and the records, whose reading shows a progress bar.

    Raises:
        RecordingError: the recording cannot be read.
    """
    with working("counting"):
        total = sum(1 for _ in read(recording))
    return total, tracked(read(recording), "replaying", total)


def truth_of(recording: Path) -> list[Truth]:
    """Return the ground truth of *recording*, empty if it is not labelled.

    Raises:
        RecordingError: the ground truth cannot be read.
    """
    if any(recording.glob("truth.jsonl*")):
        return read_truth(recording)
    return []


def show(summary: dict[str, Any], out: Path) -> None:
    """Print *summary* as tables."""
    console = screen()
    rate = round(summary["events"] / max(summary["seconds"], 0.001))
    console.print(f"{summary['events']:,} events in {summary['seconds']:.1f} s ({rate:,} a second)")
    console.print(f"decided by policy {summary['policy']} and model {summary['model']}")
    levels = ", ".join(f"{number:,} {level}" for level, number in summary["decisions"].items())
    if summary["decisions_repeated"]:
        levels += f", repeated {summary['decisions_repeated']:,} times"
    rows = [
        ("decisions", levels),
        ("step-ups asked", summary["challenges"]),
        ("answered", summary["challenges_answered"]),
        ("revocations", summary["revocations"]),
        ("only as nobody answered", summary["revocations_unanswered"]),
        ("dead letters", summary["dead_letters"]),
    ]
    if "families" in summary:
        rows.append(("false revocations", summary["false_revocations"]))
        rows.append(("only as nobody answered", summary["false_revocations_unanswered"]))
    console.print(grid("", ">", rows=[(name, value) for name, value in rows]))
    if "families" in summary:
        names = ("family", "label", ">sessions", ">found", ">step-up", ">revoked", ">median delay, s")
        console.print()
        console.print(grid(*names, rows=[tuple(row.values()) for row in summary["families"]]))
    console.print(f"\nthe output is in {out}; `session-risk explain ID --in {out}` explains a decision")
