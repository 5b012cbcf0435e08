"""Judgement in kinds of company that nothing was learned from: a model and weights for each, taught by all others.

Whoever installs a detector has a company that its authors have never seen. So for each world the second stage, its
scale, the weights of evidence and the thresholds are learned from the worlds of other kinds of company alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from models.detectors.trained import Trained
from pipeline.decisions.policy import Policy, parse_policy
from pipeline.offline.evaluation.fitting import Fitted, toml
from pipeline.offline.evaluation.foreign.learning import LabelledVectors, learn, vectors_of
from pipeline.offline.evaluation.foreign.observed import ObservedSession
from pipeline.offline.evaluation.foreign.replaying import replay_world
from pipeline.offline.evaluation.foreign.weights import fitted_weights
from pipeline.offline.evaluation.play import Model

Tell = Callable[[str], None]


class Fold(NamedTuple):
    """Worlds, by number, that are judged together, and the kinds of company in them, which nothing is learned from."""

    worlds: tuple[int, ...]
    kinds: frozenset[str]


def folds_of_worlds(kinds: Sequence[frozenset[str]]) -> list[Fold]:
    """One fold for all worlds that have the same *kinds* of company, in the order of the first."""
    return [
        Fold(tuple(number for number, other in enumerate(kinds) if other == own), own) for own in dict.fromkeys(kinds)
    ]


def under(policy: Policy, fitted: Fitted) -> Policy:
    """*policy* with *fitted* prior, weights and thresholds."""
    return parse_policy(toml(fitted, ()), "what was fitted", policy.model_dump())


def judge_left_out(
    folders: Sequence[Path], policy: Policy, model: Model, jobs: int, tell: Tell
) -> list[Sequence[ObservedSession]]:
    """What each of the worlds in *folders* saw of a model that was taught by the other kinds of company.

    Raises:
        RecordingError: a world cannot be read.
        TooFewLabels: the other worlds have too few attacks.
    """
    with TemporaryDirectory() as scratch, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        stored = [Path(scratch) / f"{number}.npz" for number in range(len(folders))]
        kinds = []
        for number, found in enumerate(pool.map(_store, folders, [model] * len(folders), stored), start=1):
            kinds.append(found)
            tell(f"scored world {number} of {len(folders)}")
        folds = folds_of_worlds(kinds)
        tasks = [
            pool.submit(_judge, fold, stored, [folders[world] for world in fold.worlds], policy, model)
            for fold in folds
        ]
        judged: dict[int, Sequence[ObservedSession]] = {}
        for number, (fold, task) in enumerate(zip(folds, tasks, strict=True), start=1):
            judged.update(zip(fold.worlds, task.result(), strict=True))
            tell(f"judged {', '.join(sorted(fold.kinds))} by what all others taught: {number} of {len(folds)}")
        return [judged[world] for world in range(len(folders))]


def _store(folder: Path, model: Model, path: Path) -> frozenset[str]:
    """Write the vectors of the world in *folder* to *path*; returns its kinds of company."""
    vectors = vectors_of(folder, model)
    np.savez(path, **{column.name: getattr(vectors, column.name) for column in fields(vectors)})
    return frozenset(np.unique(vectors.companies).tolist())


def _read(path: Path, without: frozenset[str]) -> LabelledVectors:
    with np.load(path) as arrays:
        vectors = LabelledVectors(**{column.name: arrays[column.name] for column in fields(LabelledVectors)})
    return vectors.take(~np.isin(vectors.companies, sorted(without)))


def _judge(
    fold: Fold, stored: Sequence[Path], folders: Sequence[Path], policy: Policy, model: Model
) -> list[Sequence[ObservedSession]]:
    if not isinstance(model.detector, Trained):
        raise TypeError("only a trained model can be taught")
    others = [_read(path, fold.kinds) for number, path in enumerate(stored) if number not in fold.worlds]
    taught = learn(model.detector, [vectors for vectors in others if vectors.kinds.size], lambda _: None)
    ours = under(policy, fitted_weights(taught, policy))
    return [replay_world(folder, ours, Model(taught.detector, model.roles)) for folder in folders]
