"""The evaluation in foreign worlds as a command: replay, progress on standard error, tables, and a JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import click

from pipeline.console import screen
from pipeline.decisions.policy import Policy
from pipeline.offline.evaluation.foreign.labelled import worlds_in
from pipeline.offline.evaluation.foreign.left_out import judge_left_out
from pipeline.offline.evaluation.foreign.replaying import Progress, replay_worlds
from pipeline.offline.evaluation.foreign.report import judged, show
from pipeline.offline.evaluation.play import Model


def evaluate(
    folder: Path, policy: Policy, model: Model, jobs: int, json_file: Path | None, *, left_out: bool = False
) -> None:
    """Replay the worlds in *folder*, print the judgement, and write it to *json_file* if given.

    With *left_out* each world is judged by what the worlds of other kinds of company taught *model*.

    Raises:
        RecordingError: there is no world, or one cannot be read.
        TooFewLabels: with *left_out*, the others have too few attacks.
    """
    folders = worlds_in(folder)
    jobs = min(jobs, len(folders))
    if left_out:
        parts = judge_left_out(folders, policy, model, jobs, partial(click.echo, err=True))
    else:
        parts = replay_worlds(folders, policy, model, jobs, progress_lines(perf_counter))
    observed = [seen for part in parts for seen in part]
    result = {
        "worlds": {path.name: len(part) for path, part in zip(folders, parts, strict=True)},
        "policy": policy.id,
        "model": f"taught by other companies, from {model.detector.id}" if left_out else model.detector.id,
        **judged(observed),
    }
    show(result, screen())
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def progress_lines(clock: Callable[[], float]) -> Progress:
    """Return a function that prints progress on standard error, with an estimate by the time of *clock* (s)."""
    begun = clock()

    def tell(done: int, events: int, total: int) -> None:
        click.echo(progress_line(done, events, total, clock() - begun), err=True)

    return tell


def progress_line(done: int, events: int, total: int, seconds: float) -> str:
    """Progress after *seconds*, in words."""
    share = min(events / total, 1.0) if total else 1.0
    left = f"{seconds * (1 - share) / share:,.0f} s left" if share else "time left unknown"
    speed = f"{events / seconds:,.0f} events/s" if seconds > 0 else "starting"
    return f"worlds done: {done}; {share:.0%} of {total:,} events, {speed}, {left}"
