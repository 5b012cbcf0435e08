"""`session-risk detectors`: every way of scoring compared on simulated populations and real recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from pipeline.commands.replay import FOLDER
from pipeline.offline.replay.recording import write
from pipeline.offline.simulation import simulate
from pipeline.offline.training.datasets import roles_in, sample_of
from pipeline.offline.training.detector_benchmark import compare
from pipeline.offline.training.detector_benchmark_report import REPORT, report
from pipeline.offline.training.vectors import Vectors

ATTACKS: Final = 0.5
"""Attacks a day for each principal: dense, as families are many and each must come more than once."""
MOST: Final = 100_000
"""Vectors of a population at most."""
APART: Final = 1_000
"""Between the seeds of what is learned from and what is tried on."""


@click.command("detectors", short_help="Compare the ways of scoring, and say which to take.")
@click.option("--seeds", type=click.IntRange(1, 20), default=3, show_default=True, help="How many repetitions.")
@click.option("--hours", type=float, default=24.0, show_default=True, help="Simulated hours of a population.")
@click.option("--principals", type=int, default=40, show_default=True, help="Principals of a population.")
@click.option("--recording", "recordings", multiple=True, type=FOLDER, help="Labelled recording to try on as well.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the report.")
def command(*, seeds: int, hours: float, principals: int, recordings: tuple[Path, ...], out: Path | None) -> None:
    """Train every detector on one simulated population, try it on another, and write what came of it.

    Some minutes; the figures but for times are the same each time. Without --out the report goes where the
    one that ships is. Real recordings come from `session-risk convert`.
    """
    with TemporaryDirectory() as folder:
        roles = roles_in(_simulated(Path(folder), 1, hours, principals), 1) if recordings else None
    real = {path.name: sample_of(path, MOST, roles) for path in recordings}
    populations = _populations(seeds, hours, principals)
    result = compare(populations, real, lambda text: click.echo(text, err=True))
    asked = f"session-risk detectors --seeds {seeds} --hours {hours:g} --principals {principals}"
    asked += "".join(f" --recording {path.name}" for path in recordings)
    target = out or REPORT
    target.write_text(report(result, asked), encoding="utf-8")
    click.echo(f"the report is in {target}")


def _populations(seeds: int, hours: float, principals: int) -> Iterator[tuple[int, Vectors, Vectors]]:
    """Of each seed a population to learn from, roles as well, and another one to try on."""
    for seed in range(1, seeds + 1):
        with TemporaryDirectory() as folder:
            known = _simulated(Path(folder) / "known", seed, hours, principals)
            tried = _simulated(Path(folder) / "tried", seed + APART, hours, principals)
            roles = roles_in(known, seed)
            yield seed, sample_of(known, MOST, roles), sample_of(tried, MOST, roles)


def _simulated(folder: Path, seed: int, hours: float, principals: int) -> Path:
    """A recording of a population full of attacks."""
    simulation = simulate(seed, hours, principals, attack_share=ATTACKS)
    with write(folder) as writer:
        for topic, event in simulation:
            writer.event(topic, event)
        for row in simulation.truth:
            writer.truth(row)
    return folder
