"""`session-risk detectors`: every way of scoring compared on simulated populations and real recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import click

from models.roles import Roles
from pipeline.assembly import chosen, options
from pipeline.choice import compare
from pipeline.choice_report import REPORT, report
from pipeline.choice_vectors import PARTITIONS, Vectors, share_for, vectors_of
from pipeline.commands.replay import FOLDER, truth_of
from pipeline.policy import Policy, read_policy
from pipeline.recording import read, write
from pipeline.role_learning import learn_roles
from pipeline.scorer import Options
from pipeline.settings import load
from pipeline.simulate import simulate

ATTACKS: Final = 0.5
"""Attacks a day for each principal: dense, as families are many and each must come more than once."""
MOST: Final = 100_000
"""Vectors of a population at most."""
APART: Final = 1_000
"""Between the seeds of what is learned from and what is tried on."""


@click.command("detectors", short_help="Compare the ways of scoring, and say which to take.")
@click.option(
    "--seeds", type=click.IntRange(1, 20), default=3, show_default=True, help="How many repetitions."
)
@click.option("--hours", type=float, default=24.0, show_default=True, help="Simulated hours of a population.")
@click.option("--principals", type=int, default=40, show_default=True, help="Principals of a population.")
@click.option(
    "--recording", "recordings", multiple=True, type=FOLDER, help="Labelled recording to try on as well."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the report.")
def command(
    *, seeds: int, hours: float, principals: int, recordings: tuple[Path, ...], out: Path | None
) -> None:
    """Train every detector on one simulated population, try it on another, and write what came of it.

    Some minutes; the figures but for times are the same each time. Without --out the report goes where the
    one that ships is. Real recordings come from `session-risk convert`.
    """
    settings = load()
    policy = read_policy(chosen(settings, None, None).policy_file)
    play = Play(policy, options(settings, PARTITIONS, event_clock=True))
    with TemporaryDirectory() as folder:
        roles = _simulated(Path(folder) / "known", 1, hours, principals)[1] if recordings else None
    real = {path.name: play.vectors(path, roles) for path in recordings}
    populations = _populations(seeds, hours, principals, play)
    result = compare(populations, real, lambda text: click.echo(text, err=True))
    asked = f"session-risk detectors --seeds {seeds} --hours {hours:g} --principals {principals}"
    asked += "".join(f" --recording {path.name}" for path in recordings)
    target = out or REPORT
    target.write_text(report(result, asked), encoding="utf-8")
    click.echo(f"the report is in {target}")


class Play(NamedTuple):
    """How recordings are played."""

    policy: Policy
    scoring: Options

    def vectors(self, recording: Path, roles: Roles | None) -> Vectors:
        """What is scored of *recording*, its calls held against *roles*."""
        share = share_for(recording, MOST)
        return vectors_of(read(recording), truth_of(recording), self.policy, self.scoring, share, roles)


def _populations(
    seeds: int, hours: float, principals: int, play: Play
) -> Iterator[tuple[int, Vectors, Vectors]]:
    """Of each seed a population to learn from, roles as well, and another one to try on."""
    for seed in range(1, seeds + 1):
        with TemporaryDirectory() as folder:
            known, roles = _simulated(Path(folder) / "known", seed, hours, principals)
            tried, _ = _simulated(Path(folder) / "tried", seed + APART, hours, principals, learn=False)
            yield seed, play.vectors(known, roles), play.vectors(tried, roles)


def _simulated(
    recording: Path, seed: int, hours: float, principals: int, *, learn: bool = True
) -> tuple[Path, Roles | None]:
    """A recording of a population full of attacks, and the roles of those who were not attacked."""
    simulation = simulate(seed, hours, principals, attack_share=ATTACKS)
    with write(recording) as writer:
        for topic, event in simulation:
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    attacked = {(row.tenant, row.session_id) for row in simulation.truth if row.label == "attack"}
    return recording, learn_roles(recording, left_out=attacked, seed=seed) if learn else None
