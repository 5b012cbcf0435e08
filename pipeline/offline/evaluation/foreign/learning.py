"""Learning from labelled worlds: what every detector of many companies has in common is in their labelled vectors.

A replay in `observe` mode scores every event; the vectors of a session are thinned to :data:`PER_SESSION` before an
attack and as many from its beginning on, so that no session outweighs others.

What a model has learned from scores lower than what it has not. So the scale of its scores, and the weights of the
evidence beside it, come from scores of models that have not seen the company (cross-fitting, Chernozhukov et al. 2018):
the companies are divided into :data:`FOLDS`, and each fold is scored by trees that learned from the others.

Simulated companies teach as well, for they have attacks that no other world has; but the scale and the weights come
from the companies of others alone, since the simulation was written by the authors of the detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.artefacts import ROLES, load, load_roles, pack, save
from models.detectors.calibration import calibrated
from models.detectors.drift import Reference
from models.detectors.labelled import MIN_BOOSTED, MIN_COMPANIES, Labels, TooFewLabels, boosted
from models.detectors.trained import Trained, knots_by_kind
from models.features.table import FEATURE_NAMES, as_seen_by_models, in_own_units
from models.model_card import REFERENCE
from models.model_card import read as read_card
from models.state.table import SessionTable
from pipeline.decisions.policy import Policy
from pipeline.detections.mask import Mask
from pipeline.offline.evaluation.foreign.labelled import LabelledWorld, read_world
from pipeline.offline.evaluation.foreign.observed import key_of
from pipeline.offline.evaluation.foreign.replaying import replayed
from pipeline.offline.evaluation.play import Model
from pipeline.offline.replay.labels import SessionKey
from pipeline.offline.simulation import SIMULATED
from pipeline.sessions.fast_path import ScoredChunk

PER_SESSION: Final = 20
"""Vectors of a session that are learned from, before an attack and from it on."""
FOLDS: Final = 5
"""Parts that the kinds of company are divided into; each is scored by what the others taught."""
MIN_KINDS: Final = 2
"""Kinds of company that the worlds must have."""


@dataclass(frozen=True)
class LabelledVectors:
    """Vectors of judged sessions, in order of arrival: ``(n, f)``, ``(n, words)`` and ``(n,)``.

    *sessions* are numbers of sessions, unique within one world, *mask* the detections that hold, and *companies* the
    kinds of company.
    """

    seen: NDArray[np.float32]
    mask: Mask
    kinds: NDArray[np.uint8]
    attack: NDArray[np.bool_]
    sessions: NDArray[np.int64]
    companies: NDArray[np.str_]

    def thinned(self) -> LabelledVectors:
        """At most :data:`PER_SESSION` vectors of each session and label, evenly spread over its time."""
        _, owner = np.unique(self.sessions * 2 + self.attack, return_inverse=True)
        order = np.argsort(owner, kind="stable")
        starts = np.searchsorted(owner[order], np.arange(owner.max(initial=-1) + 2))
        spread = [
            order[np.unique(np.linspace(start, end - 1, PER_SESSION).astype(np.int64))]
            for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]
        return self.take(np.sort(np.concatenate(spread)) if spread else np.zeros(0, np.int64))

    def take(self, chosen: NDArray[Any]) -> LabelledVectors:
        """Those at the indexes, or where it is true, in *chosen*."""
        return LabelledVectors(*(getattr(self, column.name)[chosen] for column in fields(self)))


class Collector:
    """Collects the vectors of judged sessions; pass :meth:`look` to the session processor as its ``onlooker``."""

    def __init__(self, world: LabelledWorld) -> None:
        self._world = world
        self._companies = [session.company for session in world.sessions.values()]
        self._numbers: dict[SessionKey, int] = {key: number for number, key in enumerate(world.sessions)}
        self._parts: list[LabelledVectors] = []

    def look(self, table: SessionTable, chunk: ScoredChunk) -> None:
        """Add the vectors of a chunk."""
        folded = chunk.folded
        keys = [key_of(table.names[row]) for row in folded.seg.keys.tolist()]
        known = [self._world.sessions.get(key) for key in keys]
        number = np.array([self._numbers.get(key, -1) for key in keys], np.int64)[folded.seg.of]
        honest_until = np.array([seen.false_until if seen else 0 for seen in known], np.int64)[folded.seg.of]
        attacked = np.array([bool(seen and seen.is_attacked) for seen in known], np.bool_)[folded.seg.of]
        attack = attacked & (folded.at >= honest_until)
        judged = np.flatnonzero((number >= 0) & (attack | (folded.at < honest_until)))
        if judged.size:
            kinds = folded.facts["kind"][judged].astype(np.uint8)
            seen = as_seen_by_models(np.ascontiguousarray(folded.values[:, judged]))
            sessions = number[judged]
            companies = np.array(self._companies)[sessions]
            self._parts.append(LabelledVectors(seen, chunk.mask[judged], kinds, attack[judged], sessions, companies))

    def vectors(self) -> LabelledVectors:
        """All that were collected."""
        return together(self._parts)


def together(parts: Sequence[LabelledVectors]) -> LabelledVectors:
    """The vectors of *parts*, one part after another."""
    return LabelledVectors(
        *(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(LabelledVectors))
    )


def vectors_of(folder: Path, model: Model) -> LabelledVectors:
    """The labelled vectors of the world in *folder*, with the roles of *model*.

    Raises:
        RecordingError: the world cannot be read.
    """
    collector = Collector(read_world(folder))
    for _ in replayed(folder, Policy(mode="observe"), model, collector.look):
        pass
    return collector.vectors()


def all_of(worlds: Iterable[LabelledVectors]) -> LabelledVectors:
    """The vectors of all *worlds*, with numbers of sessions that are unique among them."""
    numbered, first = [], 0
    for vectors in worlds:
        numbered.append(replace(vectors, sessions=vectors.sessions + first))
        first += int(vectors.sessions.max(initial=-1)) + 1
    return together(numbered)


def folds_of(companies: NDArray[np.str_]) -> NDArray[np.int64]:
    """The fold of each vector, ``(n,)``: all vectors of one kind of company are in the same."""
    names, number = np.unique(companies, return_inverse=True)
    folds: NDArray[np.int64] = number % min(FOLDS, len(names))
    return folds


@dataclass(frozen=True)
class Taught:
    """A detector that was taught, and *scores* of the *vectors* by detectors that have not seen their companies.

    There are none of simulated companies.
    """

    detector: Trained
    vectors: LabelledVectors
    scores: NDArray[np.float64]


def learn(detector: Trained, worlds: Iterable[LabelledVectors], tell: Callable[[str], None]) -> Taught:
    """*detector* with a second stage that was learned from the vectors of *worlds*.

    Raises:
        TooFewLabels: the worlds have fewer attacks than a second stage needs.
    """
    worlds = list(worlds)
    everything = all_of(worlds)
    vectors = everything.take(everything.companies != SIMULATED)
    if np.unique(vectors.companies).size < MIN_KINDS:
        raise TooFewLabels(
            f"the worlds are of fewer than {MIN_KINDS} kinds of company that are not simulated; "
            "so many are needed to judge what is learned"
        )
    few = everything.thinned()

    def labels(chosen: NDArray[Any]) -> Labels:
        part = few.take(chosen)
        return Labels(part.seen, part.kinds, part.attack, part.sessions, len(worlds))

    of_all = labels(np.arange(len(few.kinds)))
    if not of_all.suffice_for_trees:
        attacked = np.unique(everything.sessions[everything.attack]).size
        raise TooFewLabels(
            f"{attacked} attacked sessions in {len(worlds)} worlds are labelled; boosted trees need {MIN_BOOSTED} "
            f"in {MIN_COMPANIES}"
        )
    first, few_first = (detector.first(part.seen, part.kinds) for part in (vectors, few))
    raw = np.empty(len(first))
    folds = folds_of(vectors.companies)
    for fold in np.unique(folds).tolist():
        here = folds == fold
        others = np.flatnonzero(~np.isin(few.companies, np.unique(vectors.companies[here])))
        second = boosted(labels(others), few_first[others])
        raw[here] = second.raw(vectors.seen[here], first[here])
        tell(f"scored the companies {', '.join(np.unique(vectors.companies[here]))} as unseen")
    honest = ~vectors.attack
    knots = knots_by_kind(raw[honest], vectors.kinds[honest])
    taught = replace(detector, second=boosted(of_all, few_first), second_knots=knots)
    return Taught(taught, vectors, calibrated(raw, knots, vectors.kinds))


def reference_of(taught: Taught) -> Reference:
    """The honest vectors that *taught* learned from as bins, with their scores by a detector that knows them.

    So the drift of a tenant says how far its traffic is from that of the companies in the worlds.
    """
    honest = taught.vectors.take(~taught.vectors.attack).thinned()
    scores = taught.detector.score(honest.seen, honest.kinds)
    return Reference.from_rows(FEATURE_NAMES, in_own_units(honest.seen), scores)


def fit_model(source: Path, folders: Sequence[Path], out: Path, jobs: int, tell: Callable[[str], None]) -> Taught:
    """Teach the model in *source* the attacks in the worlds in *folders*, and write it with its roles to *out*.

    *jobs* processes replay the worlds.

    Raises:
        BadModel: the model in *source* cannot be used.
        RecordingError: a world cannot be read.
        TooFewLabels: the worlds have too few attacks.
    """
    detector, roles = load(source), load_roles(source)
    worlds = []
    with ProcessPoolExecutor(min(jobs, len(folders)), get_context("spawn")) as pool:
        replays = pool.map(vectors_of, folders, [Model(detector, roles)] * len(folders))
        for number, (folder, vectors) in enumerate(zip(folders, replays, strict=True), start=1):
            worlds.append(vectors)
            tell(f"world {number} of {len(folders)}: {folder.name}, {len(vectors.kinds):,} vectors")
    taught = learn(detector, worlds, tell)
    card = {name: value for name, value in read_card(source).items() if name not in _NOT_COPIED}
    attacks = sum(int(np.unique(vectors.sessions[vectors.attack]).size) for vectors in worlds)
    card["fit"] = {**card["fit"], "second_stage": f"learned from {attacks:,} attacks in {len(worlds)} labelled worlds"}
    out.mkdir(parents=True, exist_ok=True)
    parts = {REFERENCE: pack(reference_of(taught).arrays)}
    if roles is not None:
        parts[ROLES] = pack(roles.arrays)
    save(taught.detector, out, card, parts)
    return taught


_NOT_COPIED: Final = {"name", "id", "kind", "feature_set", "features", "sha256", "metrics"}
"""Members of the card that :func:`models.artefacts.save` writes, and what was measured before."""
