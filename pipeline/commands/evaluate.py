"""`session-risk evaluate`: the quality of a model on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from models.artefacts import load, load_roles
from models.model_card import read
from pipeline.commands.replay import FOLDER
from pipeline.console import as_json, grid, print_json, screen
from pipeline.offline.replay.recording import RecordingError
from pipeline.offline.training.datasets import data_in
from pipeline.offline.training.quality import known_rows, quality
from pipeline.offline.training.train import is_training_data

KNOWN: Final = {
    True: "it was trained on this data: the figures show what it remembers, not what it would find; use other data",
    False: "it was not trained on this data as a whole; whether they share sessions is not known",
    None: "whether it was trained on this data is not known: its card has no input_sha256",
}
"""A sentence for whether a model is evaluated on its training data."""


@click.command("evaluate", short_help="Measure how well a model finds known attacks.")
@click.argument("model", type=FOLDER)
@click.argument("data", type=FOLDER)
@as_json
def command(*, model: Path, data: Path, as_json: bool) -> None:
    """Measure how well the model in the folder MODEL separates attacks from honest sessions in DATA.

    DATA is a labelled recording, or an export with ground truth or verdicts. A budget is the share of honest vectors
    that may be flagged. The output says whether the model was trained on DATA, as far as its card tells.
    """
    detector = load(model)
    found = data_in(data, roles=load_roles(model))
    rows = known_rows(found.vectors, found.vectors.scores(detector), found.low_share)
    if rows is None:
        raise RecordingError(
            f"{data}: neither ground truth nor verdicts label both attacks and honest sessions, so the model "
            "cannot be evaluated; use a labelled recording"
        )
    on_training_data = is_training_data(read(model).get("data", {}).get("input_sha256"), found)
    fields = {
        "model": detector.id,
        "data": str(data),
        "on_training_data": on_training_data,
        **quality(rows).plain,
    }
    if as_json:
        print_json(fields)
    else:
        _show(fields)


def _show(fields: dict[str, Any]) -> None:
    console = screen()
    console.print(f"{fields['model']} on {fields['data']}, evaluated by {fields['by']}")
    console.print(KNOWN[fields["on_training_data"]])
    rows: list[tuple[Any, ...]] = [
        ("vectors of attacks", fields["attack_rows"]),
        ("honest vectors", fields["honest_rows"]),
        ("area under the ROC curve", fields["auc"]),
        ("average precision", fields["average_precision"]),
    ]
    for what in ("rows", "sessions"):
        for budget, recall in fields[f"recall_of_{what}"].items():
            rows.append((f"recall of {what} at {budget.replace('_', ' ')}", recall))
    console.print(grid("", ">", rows=rows))
    console.print()
    names = ("family", ">sessions", ">found at 0.1 %", ">at 1 %", ">median delay, s")
    console.print(grid(*names, rows=[tuple(row.values()) for row in fields["families"]]))
