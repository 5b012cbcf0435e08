"""`session-risk compare`: two models on the same data, compared session by session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from models.artefacts import load as load_model
from models.artefacts import load_roles
from pipeline.commands.replay import FOLDER, truth_of
from pipeline.console import as_json, grid, print_json, screen
from pipeline.control.active import tag_of
from pipeline.decisions.policy import read_policy
from pipeline.offline.replay.labels import Truths
from pipeline.offline.training import parquet
from pipeline.offline.training.comparison import Bands, compare_results, results_on
from pipeline.offline.training.datasets import is_replayed, parts_in
from pipeline.settings.loading import load

MAX_SHOWN = 20
DIFFERENT_ROLES = (
    "their roles differ, but these vectors contain how surprising calls were by the roles of the model that decided "
    "then: if that matters, compare them on a recording, which each scores with its own roles"
)


@click.command("compare", short_help="Show what another model would have changed.")
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@click.option("--on", "data", required=True, type=FOLDER, help="Recording or export to compare them on.")
@click.option("--policy", type=click.Path(dir_okay=False, path_type=Path), help="Policy file to decide with.")
@as_json
def command(*, a: Path, b: Path, data: Path, policy: Path | None, as_json: bool) -> None:
    """Show what the model in folder B would have changed where the model in folder A decides.

    On a recording both models decide, and sessions whose level, step-up or revocation differs are listed. An export,
    or the output of a replay, contains vectors only: there the bands of their scores are compared, with the roles of
    the model that decided then.
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
            fields["note"] = DIFFERENT_ROLES
    else:
        settings = load()
        applied_policy = read_policy(policy or settings.policy_file)
        models = ((first, roles), (second, others))
        results = [results_on(data, model, applied_policy, settings) for model in models]
        fields |= compare_results(results[0], results[1], Truths(truth_of(data)))
    if as_json:
        print_json(fields)
    else:
        _show(fields)


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
        rows = [(f"A band {band}", *row) for band, row in enumerate(fields["vectors"])]
        console.print(grid("vectors", *(f">B band {band}" for band in range(len(rows))), rows=rows))
    rows = [_row(item) for item in fields["differences"][:MAX_SHOWN]]
    if rows:
        console.print()
        console.print(grid("session", "label", "A", "B", "counted in B", rows=rows))
    if fields["differ"] > MAX_SHOWN:
        console.print(f"… and {fields['differ'] - MAX_SHOWN:,} more; --json shows all")


def _row(session: dict[str, Any]) -> tuple[str, ...]:
    if not isinstance(session["a"], dict):
        return session["session_id"], session["label"], f"band {session['a']}", f"band {session['b']}", ""
    sides = [f"{side['level']} {side['score']}" for side in (session["a"], session["b"])]
    label = session["family"] or session["label"]
    return session["session_id"], label, *sides, f"{session['change']}: {', '.join(session['b']['reasons'])}"
