"""`session-risk export`: scored vectors with their labels as Parquet files, point-in-time correct."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click

from models.artefacts import BadModel
from models.detectors.base import NoDetector
from pipeline.assembly import configured
from pipeline.commands.replay import FOLDER
from pipeline.console import as_json, grid, print_json, screen
from pipeline.control.active import ActiveConfig
from pipeline.control.reloader import Model
from pipeline.decisions.policy import Mode, Policy, read_policy
from pipeline.offline.replay.labels import Labels, Truths
from pipeline.offline.training.datasets import Source, in_kafka, in_recording, in_replay, is_replayed
from pipeline.offline.training.export import Exporter, Period, counts_as_json, exporting, sentences
from pipeline.settings.loading import Settings, load

DAY_MS = 86_400_000


class TimeParameter(click.ParamType):
    """A date or a time in ISO 8601; UTC unless it has an offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return *value* as ms since 1970, or fail with a usage error."""
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2026-03-02 or 2026-03-02T14:30:00+01:00", param, ctx)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return int(time.timestamp() * 1000)


@click.command("export", short_help="Write scored vectors and their labels to Parquet.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the files.")
@click.option("--from", "source", type=FOLDER, help="A recording, or the output folder of `replay --out`; else Kafka.")
@click.option("--recording", type=FOLDER, help="Recording with the verdicts and ground truth for a replay's output.")
@click.option("--since", type=TimeParameter(), help="Only vectors of events from this time on.")
@click.option("--until", type=TimeParameter(), help="Only vectors of events before this time.")
@click.option("--as-of", type=TimeParameter(), help="State of knowledge at this time: no later vectors or verdicts.")
@click.option(
    "--label-days",
    type=click.FloatRange(min=0),
    default=7.0,
    show_default=True,
    help="A verdict labels vectors scored at most this many days before it.",
)
@click.option(
    "--low-share",
    type=click.FloatRange(0, 1),
    help="Share of LOW vectors: to keep of a recording, else that were logged.  [default: the policy's]",
)
@as_json
def command(
    *,
    out: Path,
    source: Path | None,
    recording: Path | None,
    since: int | None,
    until: int | None,
    as_of: int | None,
    label_days: float,
    low_share: float | None,
    as_json: bool,
) -> None:
    """Write scored vectors with their labels to Parquet files in --out, one folder per day of event time.

    A vector is labelled with the newest verdict on its session that was given after it was scored and, with --as-of,
    not after that time; so an export with --as-of is what could have been exported then. Nothing is written if
    anything fails.
    """
    with _open(source, recording, low_share) as (found, active):
        labels = Labels(found.verdicts, as_of, round(label_days * DAY_MS))
        period = Period(since or 0, until)
        with exporting(
            out,
            period,
            labels,
            Truths(found.truth),
            detector=active.detector,
            low_share=found.low_share,
        ) as exporter:
            for value in found.vectors:
                exporter.take(value)
    if low_share is None:
        for sentence in _assumed(exporter, active.engine.policy):
            click.echo(f"session-risk: {sentence}", err=True)
    _report(exporter, found, out, as_json=as_json)


@contextmanager
def _open(
    source: Path | None, recording: Path | None, low_share: float | None
) -> Iterator[tuple[Source, ActiveConfig]]:
    """Yield the source of vectors, and the configured policy and model, whose scores can be computed again."""
    settings = load()
    detector, roles = _model(settings)
    active = ActiveConfig(detector=detector, roles=roles)
    policy = read_policy(settings.policy_file)
    active.use_policy(policy if settings.mode is None else policy.model_copy(update={"mode": settings.mode}))
    share = active.engine.policy.low_features_share if low_share is None else low_share
    if source is None:
        with in_kafka(settings, share) as found:
            yield found, active
    elif is_replayed(source):
        yield in_replay(source, recording, share), active
    else:
        yield in_recording(source, active, settings, share), active


def _model(settings: Settings) -> Model:
    """The configured model with its roles; none if it cannot be used, so that its successor can still be trained."""
    try:
        control = configured(settings)
        return control.models.load(control.model), control.models.roles(control.model)
    except BadModel as error:
        click.echo(f"session-risk: scores are left out: {error}", err=True)
        return NoDetector(), None


def _assumed(exporter: Exporter, policy: Policy) -> Iterator[str]:
    """A warning for each policy that is not available: only it says which share of LOW vectors it logged."""
    known = {policy.model_copy(update={"mode": mode}).id for mode in get_args(Mode)}
    for name, number in sorted(exporter.count.policies.items()):
        if name not in known:
            yield (
                f"{number:,} vectors were scored with policy {name}, which is not available: it is assumed that it "
                f"logged the share {policy.low_features_share} of LOW; set another with --low-share"
            )


def _report(exporter: Exporter, source: Source, out: Path, *, as_json: bool) -> None:
    count = exporter.count
    for sentence in sentences(count):
        click.echo(f"session-risk: {sentence}", err=True)
    if source.unreadable:
        click.echo(f"session-risk: {source.unreadable:,} verdicts could not be read", err=True)
    if as_json:
        print_json({"out": str(out), **counts_as_json(count)})
        return
    console = screen()
    console.print(f"{count.rows:,} vectors are in {out}")
    rows: list[tuple[str, int]] = [(f"labelled {name}", number) for name, number in count.labelled.items()]
    rows += [(f"left out: {why}", number) for why, number in sorted(count.left_out.items())]
    console.print(grid("", ">", rows=rows))
