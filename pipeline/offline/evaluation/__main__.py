"""`python -m pipeline.offline.evaluation`: evaluate on held-out worlds, or learn the weights (``--fit``)."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import numpy as np
from scipy.special import expit

from models.artefacts import SHIPPED, BadModel, load, load_roles
from models.detectors.evidence_weights import fit
from models.detectors.labelled import TooFewLabels
from models.events.columns import KINDS
from pipeline.decisions.policy import FITTED, BadPolicy, Policy, read_policy
from pipeline.offline.evaluation import plots, real
from pipeline.offline.evaluation.fitting import Budget, Fitted, learn, toml
from pipeline.offline.evaluation.foreign.command import evaluate
from pipeline.offline.evaluation.foreign.labelled import worlds_in
from pipeline.offline.evaluation.foreign.learning import fit_model
from pipeline.offline.evaluation.foreign.page import published, tables
from pipeline.offline.evaluation.foreign.weights import fitted_weights, source_lines
from pipeline.offline.evaluation.page import Real, page
from pipeline.offline.evaluation.play import BY_HALVES, BY_TOPIC, FULL, Model
from pipeline.offline.evaluation.trial import (
    INTENSITIES,
    PARTS,
    TEST,
    TRAIN,
    Trial,
    World,
    of,
    simulated,
    trials,
)
from pipeline.offline.replay.recording import RecordingError

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "models" / "EVALUATION.md"
PICTURES: Final = ROOT / "models" / "evaluation"
FITTED_FILE: Final = ROOT / "pipeline" / "decisions" / FITTED
"""The defaults of policies, which ``--fit`` writes."""
FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
LOGS: Final = ROOT / "tests" / "data" / "cloudtrail"


@click.command()
@click.option("--fit", "fitting", is_flag=True, help="Learn weights, prior and thresholds instead.")
@click.option("--logs", type=click.Path(path_type=Path), default=LOGS, help="CloudTrail recordings.")
@click.option("--work", type=click.Path(path_type=Path), help="Store the simulated worlds in this folder.")
@click.option("--hours", type=float, help="Hours of each world; fewer are faster but less reliable.")
@click.option(
    "--worlds",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Judge in the labelled worlds in this folder instead, and print the result.",
)
@click.option(
    "--leave-one-out", "left_out", is_flag=True, help="With --worlds: judge each kind of company by what others taught."
)
@click.option("--jobs", type=click.IntRange(1), help="With --worlds: processes; else one a processor.")
@click.option("--model", type=FOLDER, help="With --worlds: folder of the model; else the one that ships.")
@click.option("--policy", type=FILE, help="With --worlds: policy file; else the default one.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="With --worlds --fit: the model's folder."
)
@click.option(
    "--weights", type=click.Path(dir_okay=False, path_type=Path), help="With --worlds --fit: policy file to write, too."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="With --worlds: write the result, too.")
def main(  # noqa: PLR0913 - a command has many options
    *,
    fitting: bool,
    logs: Path,
    work: Path | None,
    hours: float | None,
    worlds: Path | None,
    left_out: bool,
    jobs: int | None,
    model: Path | None,
    policy: Path | None,
    out: Path | None,
    weights: Path | None,
    json_file: Path | None,
) -> None:
    """Evaluate on held-out worlds and write models/EVALUATION.md, or learn the weights in other worlds.

    With --worlds: judge in the labelled worlds of others and print the result, or, with --fit, teach a model the
    attacks in them and write it to --out.
    """
    if worlds is None and (left_out or jobs or model or policy or out or weights or json_file):
        raise click.UsageError("--leave-one-out, --jobs, --model, --policy, --out, --weights and --json need --worlds")
    if worlds is not None and (fitting != (out is not None) or (weights and not out)):
        raise click.UsageError("--worlds with --fit needs --out, and --out and --weights need --fit")
    if fitting and (left_out or json_file):
        raise click.UsageError("--leave-one-out and --json judge: leave out --fit")
    source, jobs = model or SHIPPED / "default", jobs or os.cpu_count() or 1
    if worlds is not None:
        try:
            if out is not None:
                folders = worlds_in(worlds)
                taught = fit_model(source, folders, out, jobs, partial(click.echo, err=True))
                click.echo(f"{taught.detector.id} is in {out}")
                if weights is not None:
                    fitted = fitted_weights(taught, read_policy(policy))
                    weights.write_text(toml(fitted, source_lines([folder.name for folder in folders])), "utf-8")
                    click.echo(f"weights of evidence are in {weights}")
            else:
                used = Model(load(source), load_roles(source))
                evaluate(worlds, read_policy(policy), used, jobs, json_file, left_out=left_out)
        except (RecordingError, BadModel, BadPolicy, TooFewLabels) as error:
            raise click.ClickException(str(error)) from error
        return
    shipped = Model(load(source), load_roles(source))
    with TemporaryDirectory() as scratch:
        folder = work or Path(scratch)
        ours = [world if hours is None else world._replace(hours=hours) for world in (TRAIN if fitting else TEST)]
        recordings = [simulated(world, folder) for world in ours]
        if fitting:
            fit_weights(ours, recordings, shipped)
        else:
            write_page(ours, recordings, shipped, logs, folder, hours)


def fit_weights(worlds: list[World], recordings: list[Path], model: Model) -> Fitted:
    """Learn from a replay that sends no commands, and write the defaults of policies."""
    budget = Budget()
    policy = Policy(mode="observe")
    (seen,) = trials([(FULL, recordings)], policy, model)
    asks = {kind for kind in KINDS if policy.action(kind, "MEDIUM") == "step_up"}
    fitted = learn(seen.table(), seen.honest_costs().hours, budget, asks)
    revocations, challenges = f"{budget.revocations:g}", f"{budget.challenges:g}"
    source = (
        "Learned by `python -m pipeline.offline.evaluation --fit`; the defaults of a policy file.",
        f"Worlds: {', '.join(f'seed {world.seed}, {world.hours:g} h, {world.principals}' for world in worlds)}.",
        f"Budget: {revocations} revocations in 10,000 honest hours, {challenges} step-ups in 1,000.",
    )
    FITTED_FILE.write_text(toml(fitted, source), "utf-8")
    click.echo(f"{FITTED_FILE.name}: {fitted.rows:,} sessions, {fitted.attacks:,} attacked; prior {fitted.prior:g}")
    return fitted


def write_page(
    worlds: list[World],
    recordings: list[Path],
    model: Model,
    logs: Path,
    folder: Path,
    hours: float | None,
) -> None:
    """Evaluate all variants and the real recordings, and write the page and its plots.

    The variants of :data:`BY_HALVES` run on all held-out worlds, those of :data:`BY_TOPIC` on a short one.
    """
    policy = read_policy(None)
    part = PARTS if hours is None else PARTS._replace(hours=hours)
    short = [simulated(part, folder)]
    found = trials(
        [*((variant, recordings) for variant in BY_HALVES), *((variant, short) for variant in BY_TOPIC)],
        policy,
        model,
    )
    halves, topics = found[: len(BY_HALVES)], found[len(BY_HALVES) :]
    _draw(halves[0], policy)
    real_results = _real(logs, policy, model)
    foreign = tables(published())
    text = page((*worlds, part), model.detector.id, policy.id, halves, topics, real_results, foreign)
    PAGE.write_text(text, "utf-8")
    click.echo(f"written: {PAGE.name}")


def _draw(full: Trial, policy: Policy) -> None:
    rows = []
    for family in full.families("attack"):
        cells = {}
        for intensity in INTENSITIES:
            results = full.attack_results(of(family, intensity))
            cells[intensity] = (results.sessions, results.intervened, results.revoked)
        rows.append((family, cells))
    plots.recall(PICTURES / "recall.png", rows)
    plots.delays(
        PICTURES / "delays.png",
        {intensity: full.delays(intensity) for intensity in INTENSITIES},
    )
    evidence, attack, _ = full.table()
    weights = np.array([*policy.weights(), *np.diff([0.0, *policy.anomaly_weights])])
    odds = evidence @ weights
    shift = fit(odds[:, None], attack, np.ones(1), spread=1e-3)  # each world has its own share of attacks
    plots.reliability(PICTURES / "reliability.png", expit(shift.intercept + odds), attack)


def _real(logs: Path, policy: Policy, model: Model) -> Real | None:
    if not logs.is_dir():
        return None
    stratus = next((path for path in (logs / "stratus", logs / "cloudtrail-stratus") if path.is_dir()), None)
    lab = next((path for path in (logs / "invictus", logs / "cloudtrail-invictus") if path.is_dir()), None)
    if stratus is None or lab is None:
        return None
    files = sorted(lab.glob("*.json"))
    return Real(
        real.techniques(stratus, policy, model),
        real.detected_in("invictus", files, policy, model),
        real.detected_in("invictus", files, policy, model, detonations=False),
        real.takeovers(lab, policy, model),
        real.takeovers(lab, policy, model, keep_client=True),
    )


if __name__ == "__main__":
    sys.exit(main())
