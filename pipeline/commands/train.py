"""`session-risk train`: the anomaly model fitted on a recording, or on a simulated one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import numpy as np

from models.artefact import CARD, SHIPPED, save, window
from models.detectors.labelled import TooFewLabels
from models.detectors.methods import METHODS
from models.detectors.trained import METHOD, Trained, fit
from models.features import as_seen_by_models
from pipeline.assembly import chosen, options
from pipeline.commands.replay import FOLDER, records_of, truth_of
from pipeline.console import as_json, print_json, tracked, working
from pipeline.labels import labels_of, said_attacked, verdicts_in
from pipeline.policy import read_policy
from pipeline.recording import read, write
from pipeline.settings import load
from pipeline.simulate import simulate
from pipeline.vectors import PARTITIONS, Vectors, share_for, vectors_of

ROWS: Final = 200_000
"""About as many vectors are learned from at most: more make no better forest."""


@click.command("train", short_help="Fit the anomaly model on a recording.")
@click.argument("recording", required=False, type=FOLDER)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the model.")
@click.option("--name", default="default", show_default=True, help="What the model is called.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed makes the same bytes.")
@click.option(
    "--method", type=click.Choice(list(METHODS)), default=METHOD, show_default=True, help="How it scores."
)
@as_json
def command(
    *, recording: Path | None, out: Path | None, name: str, seed: int, method: str, as_json: bool
) -> None:
    """Fit the anomaly model on RECORDING, else on two simulated days, and save it with its card.

    Where the truth is known, or feedback confirmed a compromise, sessions are left out. Feedback on enough
    sessions adds a second stage that learns from it. Without --out the model goes where models that ship are,
    under its name. The same recording and seed give the same bytes.
    """
    target = out or SHIPPED / name
    with TemporaryDirectory() as folder:
        known = recording or _simulated(Path(folder) / "recording", seed)
        vectors, card = _vectors(known)
        with working("fitting"):
            try:
                detector, rows, second = _fitted(vectors, known, name, seed, method)
            except ValueError as error:
                raise click.UsageError(f"{known}: {error}") from error
    thresholds = [round(float(one), 6) for one in detector.thresholds]
    card |= {"rows": rows, "seed": seed, "thresholds": thresholds, "second_stage": second}
    _save(detector, target, card)
    if as_json:
        print_json({"id": detector.id, "out": str(target), **card})
    else:
        click.echo(f"{detector.id}, a {method} fitted on {rows:,} vectors, is in {target}")
        click.echo(f"second stage: {second}")


def _simulated(folder: Path, seed: int) -> Path:
    """Two days of honest life, oddities included."""
    simulation = simulate(seed, 48.0, 200, attack_share=0.0)
    with write(folder) as writer:
        for topic, event in tracked(simulation, "simulating", None):
            writer.event(topic, event)
    return folder


def _vectors(recording: Path) -> tuple[Vectors, dict[str, Any]]:
    """The vectors of *recording*, and what the card says of where they are from."""
    settings = load()
    policy = read_policy(chosen(settings, None, None).policy_file)
    share = share_for(recording, ROWS)
    total, records = records_of(recording)
    scoring = options(settings, PARTITIONS, event_clock=True)
    vectors = vectors_of(records, truth_of(recording), policy, scoring, share)
    card = {
        "recording": {"window": window(vectors.first, vectors.last), "events": total},
        "share": round(share, 6),
        "attacked_sessions_left_out": vectors.attacked_sessions,
        "policy": policy.id,
    }
    return vectors, card


def _fitted(vectors: Vectors, recording: Path, name: str, seed: int, method: str) -> tuple[Trained, int, str]:
    """The detector fitted on what is not known to be an attack, on how many vectors, and of its second stage.

    Raises `ValueError` where there is too little to learn from.
    """
    verdicts = verdicts_in(read(recording))
    kept = ~(vectors.attacked | said_attacked(vectors, verdicts))
    values, kinds = vectors.values[kept], vectors.kinds[kept]
    detector = fit(values, kinds, name=name, seed=seed, method=method)
    labels = labels_of(vectors, verdicts)
    try:
        normal = as_seen_by_models(np.ascontiguousarray(values.T))
        second = f"learned from {len(labels.attack):,} labelled vectors"
        return detector.with_labels(labels, normal, kinds), len(values), second
    except TooFewLabels as error:
        return detector, len(values), f"none: {error}"


def _save(detector: Trained, target: Path, card: dict[str, Any]) -> None:
    """Put the model into *target* when all of it is written; the card goes last, it vouches for the rest."""
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        save(detector, Path(folder), card)
        files = sorted(path.name for path in Path(folder).iterdir() if path.name != CARD)
        for name in (*files, CARD):
            (Path(folder) / name).replace(target / name)
    for stale in target.glob("*.npz"):  # of a model that was here before
        if stale.name not in files:
            stale.unlink()
