"""`session-risk compare`: two models on the same data, session by session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from models.artefacts import load as load_model
from models.artefacts import load_roles
from models.detectors.base import Detector
from models.roles.roles import Roles
from pipeline.assembly import options, stage_kinds
from pipeline.commands.replay import FOLDER, records_of, truth_of
from pipeline.console import as_json, grid, print_json, screen
from pipeline.control.active import ActiveConfig, tag_of
from pipeline.decisions.policy import Policy, read_policy
from pipeline.offline.replay.labels import Truths
from pipeline.offline.replay.runner import Replay
from pipeline.offline.training import parquet
from pipeline.offline.training.comparison import Bands, Fates, of_fates
from pipeline.offline.training.datasets import PARTITIONS, is_replayed, parts_in
from pipeline.settings.loading import Settings, load

SHOWN = 20
OTHER_ROLES = (
    "their roles differ, and these vectors tell how surprising calls were by the roles that decided then: "
    "where that counts, compare them on a recording, on which each sees by its own"
)


@click.command("compare", short_help="Tell what another model would have changed.")
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@click.option("--on", "data", required=True, type=FOLDER, help="Recording or export to compare them on.")
@click.option("--policy", type=click.Path(dir_okay=False, path_type=Path), help="Policy file to decide by.")
@as_json
def command(*, a: Path, b: Path, data: Path, policy: Path | None, as_json: bool) -> None:
    """Tell what the model in folder B would have changed where the model in A decides.

    On a recording both decide, and sessions with another level, step-up or revocation are told. An export, or
    what a replay wrote, holds vectors only: there the bands of their scores are compared, by the roles of
    whoever decided then.
    """
    first, second = load_model(a), load_model(b)
    roles, others = load_roles(a), load_roles(b)
    fields: dict[str, Any] = {"models": {"a": first.id, "b": second.id}, "on": str(data)}
    if parquet.is_export(data) or is_replayed(data):
        bands = Bands(first, second)
        for part in parts_in(data)[1]:
            bands.take(part)
        fields |= bands.plain()
        if tag_of(roles) != tag_of(others):
            fields["note"] = OTHER_ROLES
    else:
        settings = load()
        rules = read_policy(policy or settings.policy_file)
        models = ((first, roles), (second, others))
        fates = [_fates(data, *model, rules, settings) for model in models]
        fields |= of_fates(fates[0].by_session, fates[1].by_session, Truths(truth_of(data)))
    if as_json:
        print_json(fields)
    else:
        _show(fields)


def _fates(recording: Path, model: Detector, roles: Roles | None, policy: Policy, settings: Settings) -> Fates:
    brain = ActiveConfig(detector=model, roles=roles)
    brain.use_policy(policy)
    stages = Replay(stage_kinds(brain, options(settings, PARTITIONS, event_clock=True)), PARTITIONS)
    fates = Fates()
    for message in stages.run(records_of(recording)[1]):
        fates.take(message)
    return fates


def _show(fields: dict[str, Any]) -> None:
    console = screen()
    models = fields["models"]
    console.print(f"by {fields['by']}: A {models['a']}, B {models['b']}")
    console.print(f"{fields['differ']:,} of {fields['sessions']:,} sessions differ")
    if "note" in fields:
        console.print(fields["note"])
    if fields["changes"]:
        console.print(grid("label: A → B", ">sessions", rows=fields["changes"].items()))
    if "vectors" in fields:
        rows = [(f"A band {at}", *row) for at, row in enumerate(fields["vectors"])]
        console.print(grid("vectors", *(f">B band {at}" for at in range(len(rows))), rows=rows))
    rows = [_row(item) for item in fields["differences"][:SHOWN]]
    if rows:
        console.print()
        console.print(grid("session", "label", "A", "B", "counted in B", rows=rows))
    if fields["differ"] > SHOWN:
        console.print(f"… and {fields['differ'] - SHOWN:,} more; --json tells all")


def _row(fate: dict[str, Any]) -> tuple[str, ...]:
    if not isinstance(fate["a"], dict):
        return fate["session_id"], fate["label"], f"band {fate['a']}", f"band {fate['b']}", ""
    sides = [f"{side['level']} {side['score']}" for side in (fate["a"], fate["b"])]
    label = fate["family"] or fate["label"]
    return fate["session_id"], label, *sides, f"{fate['change']}: {', '.join(fate['b']['reasons'])}"
