"""`session-risk train`: the anomaly model fitted on a recording, or on a simulated one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from models.artefact import ARRAYS, CARD, ROLES, SHIPPED, save, window
from models.features import FEATURE_NAMES
from models.forest import Forest, fit
from models.roles import Roles
from pipeline.assembly import chosen, options
from pipeline.brain import Brain
from pipeline.commands.replay import FOLDER, records_of, truth_of
from pipeline.console import as_json, print_json, tracked, working
from pipeline.kinds import stage_kinds
from pipeline.policy import read_policy
from pipeline.recording import InputRecord, read, write
from pipeline.replay import Replay
from pipeline.role_learning import learn_roles
from pipeline.settings import load
from pipeline.simulate import simulate
from schemas.topics import SESSION_FEATURES

ROWS: Final = 200_000
"""About as many vectors are learned from at most: more make no better forest."""
PARTITIONS: Final = 1


@click.command("train", short_help="Fit the anomaly model on a recording.")
@click.argument("recording", required=False, type=FOLDER)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the model.")
@click.option("--name", default="default", show_default=True, help="What the model is called.")
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed makes the same bytes.")
@as_json
def command(*, recording: Path | None, out: Path | None, name: str, seed: int, as_json: bool) -> None:
    """Fit the anomaly model on RECORDING, else on two simulated days, and save it with its card.

    Where the truth is known, attacked sessions are left out. Without --out the model goes where models that
    ship are, under its name. The same recording and seed give the same bytes.
    """
    target = out or SHIPPED / name
    with TemporaryDirectory() as folder:
        known = recording or _simulated(Path(folder) / "recording", seed)
        with working("learning roles"):
            roles = learn_roles(known, left_out=_attacked(known), seed=seed)
        values, card = _normal_vectors(known, roles)
        with working(f"fitting on {len(values):,} vectors"):
            try:
                forest = fit(values, name=name, seed=seed)
            except ValueError as error:
                raise click.UsageError(f"{known}: {error}") from error
    card |= {"seed": seed, "thresholds": [round(float(one), 6) for one in forest.thresholds]}
    _save(forest, roles, target, card)
    if as_json:
        print_json({"id": forest.id, "out": str(target), **card})
    else:
        click.echo(f"{forest.id}, fitted on {len(values):,} vectors, is in {target}")


def _simulated(folder: Path, seed: int) -> Path:
    """Two days of honest life, oddities included."""
    simulation = simulate(seed, 48.0, 200, attack_share=0.0)
    with write(folder) as writer:
        for topic, event in tracked(simulation, "simulating", None):
            writer.event(topic, event)
    return folder


def _attacked(recording: Path) -> set[tuple[str, str]]:
    """Sessions that are no example of normal traffic."""
    return {(row.tenant, row.session_id) for row in truth_of(recording) if row.label == "attack"}


def _normal_vectors(recording: Path, roles: Roles | None) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """The vectors of honest sessions, ``(n, features)``, and what the card says of where they are from."""
    attacked = _attacked(recording)
    lines = sum(record.topic != "device-telemetry" for record in read(recording))
    share = min(1.0, ROWS / max(1, lines))
    settings = load()
    policy = read_policy(chosen(settings, None, None).policy_file)
    brain = Brain(roles=roles)
    brain.use_policy(policy.model_copy(update={"low_features_share": share}))
    stages = Replay(stage_kinds(brain, options(settings, PARTITIONS, event_clock=True)), PARTITIONS)
    total, records = records_of(recording)
    clock = _Clock()
    rows = [
        [told["values"][name] for name in FEATURE_NAMES]
        for message in stages.run(clock.watch(records))
        if message.topic == SESSION_FEATURES
        for told in (from_json(message.value),)
        if (told["tenant"], told["session_id"]) not in attacked and _drawn(told, share)
    ]
    values = np.array(rows, np.float64).reshape(-1, len(FEATURE_NAMES))
    card = {
        "recording": {"window": window(clock.first, clock.last), "events": total},
        "rows": len(rows),
        "share": round(share, 6),
        "attacked_sessions_left_out": len(attacked),
        "policy": policy.id,
        "roles": [] if roles is None else [label for label in roles.labels.ravel().tolist() if label],
    }
    return values, card


class _Clock:
    """Notes the first and the last time of a recording, ms."""

    def __init__(self) -> None:
        self.first = self.last = 0

    def watch(self, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
        for record in records:
            self.first = self.first or record.occurred_at
            self.last = max(self.last, record.occurred_at)
            yield record


def _drawn(told: dict[str, Any], share: float) -> bool:
    """Whether a vector is in the sample: all of MEDIUM and HIGH are logged, so those are drawn here."""
    if told["level"] == "LOW":
        return True
    drawn = int.from_bytes(blake2b(told["event_id"].encode(), digest_size=8).digest())
    return drawn < share * 2.0**64


def _save(forest: Forest, roles: Roles | None, target: Path, card: dict[str, Any]) -> None:
    """Put the model into *target* when all of it is written; the card goes last, it vouches for the rest."""
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        save(forest, Path(folder), card, roles)
        for name in (ARRAYS, ROLES, CARD):
            if name != ROLES or roles is not None:
                (Path(folder) / name).replace(target / name)
