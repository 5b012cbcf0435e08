"""`session-risk drift`: the distance of live vectors from a model's training data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from models.artefacts import BadModel, load, load_reference, load_roles
from models.detectors.drift import Tally
from pipeline.commands.replay import FOLDER
from pipeline.console import as_json, grid, print_json, screen
from pipeline.offline.training.datasets import parts_in
from pipeline.offline.training.vectors import drawn


@click.command("drift", short_help="Show how far traffic has moved from a model's training data.")
@click.argument("data", type=FOLDER)
@click.option("--model", required=True, type=FOLDER, help="Folder of the model.")
@as_json
def command(*, data: Path, model: Path, as_json: bool) -> None:
    """Measure how far the vectors in DATA, an export or a recording, have moved from a model's training data.

    Shows the population stability index of each feature and of the score: below 0.1 is stable, from 0.25 on large.
    Vectors of one session are similar, so a few sessions alone look like a change. This only reports: people decide
    whether to train again.
    """
    fields = _drift(model, data)
    if as_json:
        print_json(fields)
    else:
        _show(fields)


def _drift(model: Path, data: Path) -> dict[str, Any]:
    detector, reference = load(model), load_reference(model)
    if reference is None:
        raise BadModel(f"{model}: has no training data to compare with; train it again with `session-risk train`")
    tally = Tally(reference)
    low_share, parts = parts_in(data, load_roles(model))
    sessions: set[tuple[str, str]] = set()
    for part in parts:
        fair = part.take(drawn(part, low_share))
        if len(fair):
            tally.add(fair.values, fair.scores(detector))
            sessions.update(fair.sessions)
    return {
        "model": detector.id,
        "data": str(data),
        "rows": tally.rows,
        "sessions": len(sessions),
        "training_rows": reference.rows,
        "columns": [
            {"column": drift.name, "psi": round(drift.psi, 4), "verdict": drift.verdict}
            for drift in sorted(tally.drift(), key=lambda drift: (-drift.psi, drift.name))
        ],
    }


def _show(fields: dict[str, Any]) -> None:
    console = screen()
    rows, sessions = f"{fields['rows']:,} vectors", f"{fields['sessions']:,} sessions"
    console.print(f"{rows} of {sessions} against {fields['training_rows']:,} that {fields['model']} learned from")
    found = Counter(row["verdict"] for row in fields["columns"])
    console.print(", ".join(f"{number} {word}" for word, number in found.most_common()) or "nothing to compare")
    console.print()
    console.print(grid("column", ">PSI", "verdict", rows=[tuple(row.values()) for row in fields["columns"]]))
